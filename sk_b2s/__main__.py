"""Run the command line with ``python -m sk_b2s``."""

import sys

from sk_b2s._cli._main import run

if __name__ == "__main__":
    sys.exit(run())
