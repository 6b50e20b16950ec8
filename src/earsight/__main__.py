"""``python -m earsight``, and the program ``earsight``: all of it is in ``command_line``."""

import sys


def main() -> None:
    """``command_line.main``, with Ctrl-C handled while it is still being imported."""
    try:
        from earsight.command_line import main
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    main()


if __name__ == "__main__":
    main()
