"""`python -m sonomask` is the command `sonomask`."""

import sys

from sonomask.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
