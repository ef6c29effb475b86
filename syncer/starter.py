"""What `syncer init` writes: a commented config and the mapping files to start from."""

from __future__ import annotations

import importlib.resources
from importlib.resources.abc import Traversable
from pathlib import Path

from syncer.errors import Problem, UserError
from syncer.files import shown_path


def files() -> dict[str, str]:
    """Path below the new folder → text: `config.toml` and `mappings/NAME.toml`."""
    shipped = importlib.resources.files("mappings")
    mappings = sorted(
        (entry for entry in shipped.iterdir() if entry.name.endswith(".toml")), key=lambda entry: entry.name
    )
    return {
        "config.toml": _sample().read_text("utf-8"),
        **{f"mappings/{entry.name}": entry.read_text("utf-8") for entry in mappings},
    }


def write(folder: Path) -> list[Path]:
    """Write the files and return their paths. Raises UserError, and writes nothing, when one is there already."""
    texts = {folder / name: text for name, text in files().items()}
    there = [path for path in texts if path.exists() or path.is_symlink()]
    if there:
        sentence = "It is there already and is not overwritten. Name an empty folder: syncer init DIR."
        raise UserError([Problem(shown_path(path), sentence) for path in there])
    written: list[Path] = []
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Exclusive, so that a file which appeared in between is safe too.
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            sentence = f"It cannot be written: {error.strerror or type(error).__name__}. Name a folder that can be."
            raise UserError([Problem(shown_path(path), sentence)]) from None
        written.append(path)
    return written


def _sample() -> Traversable:
    """The sample config: inside the package when it is installed, beside it in a checkout."""
    package = importlib.resources.files("syncer")
    installed = package / "config.example.toml"
    return installed if installed.is_file() else package.joinpath("..", "config.example.toml")
