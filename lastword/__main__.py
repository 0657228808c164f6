"""The `lastword` command, also as ``python -m lastword``."""

import gc
import sys

gc.disable()  # what is imported stays; to look through it again and again takes a tenth of the start
from lastword.infrastructure.cli.app import run  # noqa: E402  # after the line above

gc.freeze()
gc.enable()


def main() -> None:
    """Do what the command line says, and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
