"""`python -m tests.chaos [--duration S] [--seed N]`: see `harness`."""

import sys

from tests.chaos.harness import main

if __name__ == "__main__":
    sys.exit(main())
