"""Flags of the command line as values: checked before anything starts, one line for a mistake."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import msgspec

from cryptosignal.ground.faults import UserFault

if TYPE_CHECKING:
    from cryptosignal.modes.config import Config

T = TypeVar("T", bound=msgspec.Struct)

SYMBOLS_MIN, SYMBOLS_MAX, SYMBOLS_DEFAULT = 2, 600, 60
SCANS_MAX = 1_000_000_000
PORT_MAX = 65_535
_SYMBOLS_ALLOWED = f"{SYMBOLS_MIN} to {SYMBOLS_MAX}, or names with commas"
_NAME = re.compile(r"\w{2,30}")


def parse_symbols(text: str) -> tuple[int, tuple[str, ...]]:
    """(how many, which) from `60` or `BTCUSDT,ETHUSDT`. Raises UserFault otherwise."""
    if text.isascii() and text.isdigit():
        count = int(text)
        if not SYMBOLS_MIN <= count <= SYMBOLS_MAX:
            raise UserFault(f"--symbols: found {count}, allowed: {_SYMBOLS_ALLOWED}")
        return count, ()
    names = tuple(dict.fromkeys(n.strip().upper() for n in text.split(",") if n.strip()))
    if not names or not all(_NAME.fullmatch(name) for name in names):
        raise UserFault(f"--symbols: found {text!r}, allowed: {_SYMBOLS_ALLOWED}")
    return SYMBOLS_DEFAULT, names


def within(flag: str, value: float, low: float, high: float) -> None:
    """Raise UserFault with one line if `value` is not from `low` to `high`."""
    if not low <= value <= high:
        raise UserFault(f"{flag}: found {value:g}, allowed: {low:g} to {high:g}")


def whole(flag: str, value: int, low: int, high: int) -> None:
    """The same for whole numbers."""
    if not low <= value <= high:
        raise UserFault(f"{flag}: found {value}, allowed: {low} to {high}")


def with_params(
    settings: Config, min_score: float | None, *, synthetic_flow: bool = False
) -> Config:
    """The configuration with another limit of the strength gate (DOMAIN §0.18; None: its own), and
    with flow that was made up counted if asked for (DOMAIN §0.28)."""
    from cryptosignal.modes.config import checked

    params = settings.params
    if min_score is not None:
        gates = msgspec.structs.replace(params.gates, min_score=min_score)
        params = msgspec.structs.replace(params, gates=gates)
    if synthetic_flow:
        params = msgspec.structs.replace(params, accept_synthetic_flow=True)
    return checked(msgspec.structs.replace(settings, params=params), "command line")


def with_run(settings: Config, changes: Mapping[str, object]) -> Config:
    """The configuration with some of its `run` values changed; None leaves one as it is."""
    given = {key: value for key, value in changes.items() if value is not None}
    return msgspec.structs.replace(settings, run=replaced(settings.run, given))


def replaced(settings: T, changes: dict[str, object]) -> T:
    """Settings with some values changed and all checked. Raises UserFault with one line."""
    from cryptosignal.modes.config import readable

    try:
        body = {**msgspec.to_builtins(settings), **changes}
        return msgspec.convert(body, type(settings))
    except msgspec.ValidationError as error:
        raise UserFault(f"command line: {readable(str(error), type(settings))}") from None
