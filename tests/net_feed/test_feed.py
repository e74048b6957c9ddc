"""The feed over the toy venue, in virtual time."""

from __future__ import annotations

import asyncio

from tests.net_feed.rig import Rig, run


def test_bars_equal_the_venues_truth():
    """After warm-up and twenty minutes of streams the cache equals the venue bar for bar."""
    from cryptosignal.net.warmup import warm_up

    async def main(loop):
        rig = Rig(loop, ["BTCUSDT", "ETHUSDT"], ["1m", "5m"])
        rig.venue.seed_history(["1m", "5m"], 600)
        await rig.start()
        await asyncio.sleep(3)
        report = await warm_up(rig.venue, rig.board, rig.venue.symbols, rig.intervals, rig.clock)
        assert report.ready == ["BTCUSDT", "ETHUSDT"] and not report.failed
        await asyncio.sleep(1200)
        now = rig.clock.now_ms()
        for interval, bars in (("1m", 400), ("5m", 400)):
            assert rig.venue.differences(rig.board, interval, now, bars) == []
        assert rig.feed.is_healthy
        await rig.stop()

    run(main)
