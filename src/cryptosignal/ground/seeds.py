"""One run seed, many named streams: adding a consumer never shifts the numbers of another."""

from __future__ import annotations

import hashlib
import random
import secrets

Rng = random.Random
"""The type of a random stream: pure floors name it from here and never import `random`."""


class Seeds:
    """Derives independent random streams from one run seed by name.

    >>> Seeds(7).stream("backoff", "c1").random() == Seeds(7).stream("backoff", "c1").random()
    True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, *name: str | int) -> random.Random:
        """The stream called `name`; the same name gives the same numbers."""
        return random.Random(self.number(*name))

    def number(self, *name: str | int) -> int:
        """A 64-bit integer for `name`, to seed a library of its own (numpy, Hypothesis)."""
        text = "\x1f".join([str(self.seed), *map(str, name)])
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")

    def child(self, *name: str | int) -> Seeds:
        """A whole tree of streams of its own, for a sub-system or a simulated process."""
        return Seeds(self.number(*name))


def fresh_seed() -> int:
    """A seed nobody chose, for `SEED=random`; it is printed so that the run can be repeated."""
    return secrets.randbits(31)
