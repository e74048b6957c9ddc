"""Whether the venue answers; exit code 0 if it does."""

import asyncio
import sys

from cryptosignal import test_connection

sys.exit(0 if asyncio.run(test_connection()) else 1)
