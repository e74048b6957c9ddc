"""How new a coin is: by its listing time alone, never by the bars that a cache holds (DOMAIN §3.22)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import NewCoinParams
from cryptosignal.factors.window import filled

Floats = NDArray[np.float64]


def grown_hours(own: NewCoinParams) -> float:
    """Hours since listing at which a coin leaves the channel; it fades over `blend_hours` more."""
    return max(own.age_days * 24.0, float(own.bars_1h))


def newness(hours: Floats, own: NewCoinParams) -> Floats:
    """1 in the channel, 0 out of it, linear over `blend_hours` between.

    `hours` since listing; a coin of unknown age is not new, however few bars a cache holds of it
    (§3.22), its short history shrinks p instead. Derived from the listing time, it needs no memory
    of when a coin left: 400 hours are more than 14 days, so by §1.8's own rule a coin leaves with
    its 400th bar whether or not its open interest is complete.
    """
    faded = 1.0 - (hours - grown_hours(own)) / max(own.blend_hours, 1e-9)
    return np.clip(filled(faded), 0.0, 1.0)
