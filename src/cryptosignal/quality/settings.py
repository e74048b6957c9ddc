"""Numbers of DataQual: both profiles of DOMAIN §1.6, limits, levels, hysteresis (§0.1, §0.22)."""

from __future__ import annotations

import msgspec


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights of the four rates, and per component the rate that warns and the one that stops."""

    miss: float
    order: float
    drift: float
    mismatch: float
    miss_limits: tuple[float, float] = (0.05, 0.10)
    order_limits: tuple[float, float] = (0.01, 0.03)
    drift_limits: tuple[float, float] = (0.10, 0.30)
    mismatch_limits: tuple[float, float] = (0.05, 0.10)

    def __post_init__(self) -> None:
        total = self.miss + self.order + self.drift + self.mismatch
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"quality profile weights: sum {total:g} (allowed: 1)")


STREAM_PROFILE = Profile(0.35, 0.15, 0.20, 0.30)
BAR_PROFILE = Profile(0.40, 0.25, 0.20, 0.15)
HIGH_FREQUENCY_PROFILE = Profile(0.35, 0.30, 0.25, 0.10)
LOW_FREQUENCY_PROFILE = Profile(0.45, 0.25, 0.15, 0.15)
NEW_COIN_PROFILE = Profile(0.40, 0.30, 0.20, 0.10)

PROFILES: dict[str, Profile] = {
    "stream": STREAM_PROFILE,
    "bar": BAR_PROFILE,
    "high_frequency": HIGH_FREQUENCY_PROFILE,
    "low_frequency": LOW_FREQUENCY_PROFILE,
    "new_coin": NEW_COIN_PROFILE,
}


class QualitySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which profile, how long events count, the levels and how a symbol comes back."""

    profile: str = "stream"
    window_s: int = 300
    step_s: int = 5
    excellent: float = 0.95
    prime: float = 0.90
    hold: float = 0.88
    watch: float = 0.85
    recovery_bars: int = 3
    latched_ceiling: float = 0.89
    warn_ceiling: float = 0.899
    stop_ceiling: float = 0.849
    rest_ceiling: float = 0.89
    lost_ceiling: float = 0.89
    """Most that a symbol gets while a connection that carries it is gone."""

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(
                f"quality.profile: found {self.profile!r}, allowed: {', '.join(PROFILES)}"
            )
        if self.step_s < 1 or self.window_s % self.step_s:
            raise ValueError(
                f"quality.window_s: found {self.window_s}, allowed: a multiple of step_s"
            )
        if not 0 < self.watch <= self.hold <= self.prime <= self.excellent <= 1:
            raise ValueError("quality: allowed: watch <= hold <= prime <= excellent within 0 to 1")
        if self.recovery_bars < 1:
            raise ValueError(f"quality.recovery_bars: found {self.recovery_bars}, allowed: 1 up")
