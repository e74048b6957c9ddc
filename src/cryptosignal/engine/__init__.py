"""The single writer: step(now, event) -> actions, timers, journal codec and digests (D1, D2)."""
