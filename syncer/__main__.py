"""The door: `syncer`, and `python -m syncer`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from syncer.cli import cli

    cli(prog_name="syncer")


if __name__ == "__main__":
    main()
