"""Whether alerts arrive."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from syncer.cli.frame import load, open_engine, print_json, sentences
from syncer.cli.group import DONE, FAILED, as_json, cli


@cli.command("alert-test")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@as_json
@click.pass_obj
def alert_test(file: Path, names: tuple[str, ...], is_json: bool) -> None:
    """Send a test message to each alert, or to these, and say what came back. Exit 1 when any did not arrive."""
    from syncer.alerts.watch import try_out
    from syncer.errors import UserError
    from syncer.mistakes import did_you_mean

    with sentences(is_json=is_json):
        config = load(file)
        known = {alert.called: alert for alert in config.alerts}
        if not known:
            raise UserError("The config has no [[alerts]]; docs/alerts.md shows how to write one.")
        if unknown := [name for name in names if name not in known]:
            guess = did_you_mean(unknown[0], known) or f" There are {', '.join(known)}."
            raise UserError(f"There is no alert {unknown[0]!r}.{guess}")
        with open_engine(config) as engine:
            found = [(name, *try_out(engine, alert)) for name, alert in known.items() if not names or name in names]
    if is_json:
        print_json(
            {"alerts": [{"alert": name, "delivered": is_there, "answer": told} for name, is_there, told in found]}
        )
    else:
        for name, is_there, told in found:
            click.echo(f"{name}: {'delivered' if is_there else 'not delivered'}. {told}")
    sys.exit(DONE if all(is_there for _, is_there, _ in found) else FAILED)
