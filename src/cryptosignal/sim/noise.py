"""Counter-based noise: random numbers as a pure function of a key and an index.

Any stretch of any symbol's history can be drawn at any time and is always the same, whatever was
drawn before it: this is what lets the venue make history only where somebody asks for it.
The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_GOLD = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_MASK = (1 << 64) - 1
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_S16, _S32, _S48, _LOW = np.uint64(16), np.uint64(32), np.uint64(48), np.uint64(0xFFFF)
_IRWIN_HALL = 1.0 / (65_536.0 * (4.0 / 12.0) ** 0.5)


def key_of(seed: int, *parts: int) -> int:
    """A 64-bit key from a seed and small integers (symbol, level, purpose)."""
    value = seed & _MASK
    for part in parts:
        value = _mix_int((value ^ (part & _MASK)) + 0x9E3779B97F4A7C15)
    return value


def _mix_int(value: int) -> int:
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def hash_int(key: int, index: int) -> int:
    """64 random bits for one index."""
    return _mix_int(index * 0x9E3779B97F4A7C15 + key)


def uniform_one(key: int, index: int) -> float:
    """One number in [0, 1)."""
    return (hash_int(key, index) >> 11) * (1.0 / (1 << 53))


def bits(key: int, index: I64) -> NDArray[np.uint64]:
    """64 random bits for each index."""
    x = index.astype(np.uint64) * _GOLD + np.uint64(key & _MASK)
    x = (x ^ (x >> _S30)) * _M1
    x = (x ^ (x >> _S27)) * _M2
    return x ^ (x >> _S31)


def uniforms(key: int, index: I64) -> F64:
    """Numbers in [0, 1)."""
    return (bits(key, index) >> _S11).astype(np.float64) * (1.0 / (1 << 53))


def normals(key: int, index: I64) -> F64:
    """Nearly normal numbers, mean 0, variance 1 (sum of four uniforms; |x| < 3.47)."""
    h = bits(key, index)
    total = (h & _LOW) + ((h >> _S16) & _LOW) + ((h >> _S32) & _LOW) + (h >> _S48)
    return (total.astype(np.float64) - 131_070.0) * _IRWIN_HALL


def smooth(key: int, time_ms: I64, period_ms: int) -> F64:
    """Slowly moving noise: normals at multiples of `period_ms`, straight lines between them."""
    node = time_ms // period_ms
    share = (time_ms - node * period_ms) / period_ms
    return normals(key, node) * (1.0 - share) + normals(key, node + 1) * share


def smooth_one(key: int, time_ms: int, period_ms: int) -> float:
    """`smooth` for one instant."""
    node, rest = divmod(time_ms, period_ms)
    share = rest / period_ms
    return _normal_one(key, node) * (1.0 - share) + _normal_one(key, node + 1) * share


@lru_cache(maxsize=4096)
def _normal_one(key: int, index: int) -> float:
    h = hash_int(key, index)
    total = (h & 0xFFFF) + ((h >> 16) & 0xFFFF) + ((h >> 32) & 0xFFFF) + (h >> 48)
    return (total - 131_070.0) * _IRWIN_HALL
