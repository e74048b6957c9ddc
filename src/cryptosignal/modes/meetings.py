"""Which faults have struck within a minute of each other (RELIABILITY §6, coverage rule).

A fault alone is mended by one mechanism; what two of them do together nobody has thought of. So a
campaign counts the pairs that met, and names those that never did.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Final

import msgspec

from cryptosignal.modes.virtual_net import STORM
from cryptosignal.modes.weather import HOST_FAULTS
from cryptosignal.sim.mischief import MENU

LOOK_S: Final = 30.0
"""How often strikes are looked at: what is new in two looks in a row lies within a minute."""
KILL: Final = "kill"
_NAMES: Final = tuple(sorted({*msgspec.structs.asdict(STORM), *MENU, *HOST_FAULTS, KILL}))
POSSIBLE: Final = frozenset(f"{one}+{other}" for one, other in combinations(_NAMES, 2))
"""Every pair of the menu, each name once, in the order of the alphabet."""


class Meetings:
    """The pairs of one day."""

    def __init__(self) -> None:
        self.met: set[str] = set()
        self._seen: dict[str, int] = {}
        self._before: set[str] = set()

    def look(self, strikes: Mapping[str, int]) -> None:
        """Take in how often each fault has struck so far; to be called every `LOOK_S`."""
        now = {name for name in _NAMES if strikes.get(name, 0) > self._seen.get(name, 0)}
        self._seen = dict(strikes)
        if now:
            near = sorted(now | self._before)
            self.met.update(
                f"{one}+{other}"
                for one, other in combinations(near, 2)
                if one in now or other in now
            )
        self._before = now
