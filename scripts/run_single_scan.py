"""One scan with the known result keys as JSON."""

import asyncio
import json

from cryptosignal import run_single_scan

print(json.dumps(asyncio.run(run_single_scan(min_score=75)).to_dict(), indent=2, default=str))
