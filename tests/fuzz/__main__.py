"""`python -m tests.fuzz TARGET… [-runs=N] [-max_total_time=SECONDS]`: bytes that reach new code are tried further.

Atheris, which is libFuzzer for Python, sees which lines of ours the bytes of a target reach, and varies those that
reached new ones. Exit 0: nothing was found; otherwise the traceback is on stderr, and the bytes are in a file.
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["syncer", "destinations"], exclude=["destinations.standins"]):
    from tests.fuzz.targets import TARGETS, one_of


SEEDS, SEED_BYTES = 64, 64


def main() -> None:
    """Fuzz the targets that are named."""
    names = [word for word in sys.argv[1:] if word in TARGETS]
    words = [word for word in sys.argv if word not in TARGETS]
    logging.disable()
    with one_of(*names or TARGETS) as target, tempfile.TemporaryDirectory() as corpus:
        # Left to itself it would begin with a byte or two, which decide nothing.
        for number in range(SEEDS):
            Path(corpus, str(number)).write_bytes(random.randbytes(SEED_BYTES))
        atheris.Setup([*words, "-len_control=0", f"-max_len={4 * SEED_BYTES}", corpus], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
