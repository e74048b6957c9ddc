"""Exchange milliseconds as dates people read, and back; pure floors format time only through here."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from cryptosignal.ground.units import DAY_MS


def utc_day(time_ms: int) -> str:
    """The UTC day of an exchange time, `YYYY-MM-DD`."""
    return _day_text(time_ms // DAY_MS)


@lru_cache(maxsize=64)
def _day_text(day: int) -> str:
    """Snapshots, fills and reports ask for the same few days again and again."""
    return datetime.fromtimestamp(day * DAY_MS / 1000, UTC).strftime("%Y-%m-%d")


def utc_text(time_ms: int) -> str:
    """An exchange time as `YYYY-MM-DD HH:MM:SS` UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def parse_utc(text: str) -> int:
    """Epoch milliseconds of `YYYY-MM-DD`, ISO date-times (UTC unless they say otherwise) or digits.

    Raises ValueError with the allowed forms.
    """
    if text.isdigit() and len(text) >= 12:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"not a time: {text!r} (allowed: 2025-01-31, 2025-01-31T12:00, or epoch ms)"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def day_start(time_ms: int) -> int:
    """00:00 UTC of the day of `time_ms`."""
    return time_ms // DAY_MS * DAY_MS
