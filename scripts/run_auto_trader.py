"""Scan every hour until Ctrl-C, as the old auto trader did."""

import asyncio

from cryptosignal import run_periodic_scan

asyncio.run(
    run_periodic_scan(interval_minutes=60, min_score=75, on_scan=lambda r: print(r.to_dict()))
)
