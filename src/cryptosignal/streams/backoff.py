"""How long to wait before the next attempt: doubling, bounded, jittered from a named seed (DOMAIN §1.7)."""

from __future__ import annotations

from cryptosignal.ground.seeds import Rng


class ExponentialBackoff:
    """Delays `base_s · 2ⁿ`, at most `max_s`, each moved by up to ±`jitter` of itself.

    `reset()` belongs after *proven healthy data*, never after a mere connect (DESIGN D5): a server
    that accepts and closes would otherwise be called thousands of times a second.
    """

    def __init__(
        self,
        base_s: float = 1.0,
        max_s: float = 60.0,
        jitter: float = 0.1,
        rng: Rng | None = None,
    ) -> None:
        if not 0 < base_s <= max_s:
            raise ValueError(f"backoff base_s={base_s} must be above 0 and at most max_s={max_s}")
        if not 0 <= jitter < 1:
            raise ValueError(f"backoff jitter={jitter} must be in [0, 1)")
        self._base_s = base_s
        self._max_s = max_s
        self._jitter = jitter
        self._rng = rng
        self.attempt = 0
        """Delays given since the last reset."""

    def next_delay(self) -> float:
        """Seconds to wait before the next attempt; each call doubles the one after."""
        delay_s = min(self._max_s, self._base_s * 2.0 ** min(self.attempt, 64))
        self.attempt += 1
        if self._rng is not None:
            delay_s *= 1.0 + self._jitter * (2.0 * self._rng.random() - 1.0)
        return min(delay_s, self._max_s)

    def reset(self) -> None:
        """The other side has proved healthy: the next delay is `base_s` again."""
        self.attempt = 0
