"""``python -m s4eca`` is the command line."""

import sys

from s4eca.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
