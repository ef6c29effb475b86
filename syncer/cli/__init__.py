"""The command line: what a person asks for, in their words, and the exit code of the answer.

    group          `syncer` itself, what commands have in common, and the exit codes
    frame          how a command begins and ends: config, engine, signals, sentences, JSON
    setting_up     init, demo, check, sandbox, schema
    running        diff, sync, approve, undo
    serving        serve, pause, resume
    remembering    status, rejected, explain, adopt, verify, forget
    moving         state move
    alerting       alert-test

Modules are imported by the command that needs them, when it runs: `syncer --help` must be there at once.
"""

from __future__ import annotations

from syncer.cli import alerting, moving, remembering, running, serving, setting_up
from syncer.cli.group import cli

__all__ = ["alerting", "cli", "moving", "remembering", "running", "serving", "setting_up"]
