"""``python -m earsight``, and the program ``earsight``: all of it is in ``command_line``."""

import sys


def main() -> None:
    """As ``command_line.main``. Ctrl-C is answered from here on, while the program is still being loaded."""
    try:
        from earsight.command_line import main
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    main()


if __name__ == "__main__":
    main()
