"""The `lastword` command, also as ``python -m lastword``."""

import sys

from lastword.infrastructure.cli.app import run


def main() -> None:
    """Do what the command line says, and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
