"""`syncer` itself, what commands have in common, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import click

from syncer import __version__

DONE, FAILED, SOME_REFUSED, HELD = 0, 1, 2, 3
DRIFTED = 2
"""Exit codes of `sync`; `diff --exit-code` says 2 for changes."""
# The library says 2 for a word that it does not know, which here would read as records that were refused.
click.UsageError.exit_code = FAILED
LOG_FORMAT = "syncer.log_format"
"""Where the context keeps what was said of log lines."""
SHOWN_CHANGES = 20
"""Changes that `diff` shows to people unless they ask for more."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="SYNCER_CONFIG",
    default="config.toml",
    show_default=True,
    help="The config file.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "pretty"]),
    envvar="SYNCER_LOG_FORMAT",
    help="Log lines on stderr; in place of what the config's [log] says.",
)
@click.version_option(__version__, prog_name="syncer")
@click.pass_context
def cli(context: click.Context, file: Path, log_format: str | None) -> None:
    """Push activation scores to where people work: only what changed, and the plan first."""
    context.obj = file
    context.meta[LOG_FORMAT] = log_format


as_json = click.option("--json", "is_json", is_flag=True, help="Print the result as JSON.")
names = click.argument("syncs", metavar="[SYNC]...", nargs=-1)
