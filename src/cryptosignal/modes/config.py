"""One validated configuration: every number of every package, in one TOML file, each with a default.

A wrong file, key or value stops start-up with one line that names the key, what was found and what
is allowed (DESIGN §5.18). The sections are the packages' own settings; nothing is read twice.
"""

from __future__ import annotations

import difflib
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit, urlunsplit

import msgspec

from cryptosignal.domain.params import SHIPPED, ParamSet
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market.pools import PoolSettings
from cryptosignal.market.settings import MarketSettings
from cryptosignal.net.settings import (
    AccountFeedSettings,
    ClientSettings,
    LedgerSettings,
    TransportSettings,
)
from cryptosignal.quality.settings import QualitySettings
from cryptosignal.risk.settings import RiskSettings
from cryptosignal.store.settings import StoreSettings
from cryptosignal.streams.settings import FeedSettings
from cryptosignal.trading.settings import TradingSettings

Mode = Literal["signal", "approve", "auto"]
Account = Literal["none", "sim", "paper", "testnet", "live"]


class RunSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run does: how it acts, on which account, how often it scans."""

    mode: Mode = "signal"
    account: Account = "sim"
    paper_usdt: float = 10_000.0
    """What a new paper account begins with."""
    bot: str = "a"
    scan_interval_s: float = 30.0
    intervals: tuple[str, ...] = ("1m", "5m", "15m", "1h", "4h")
    rest_intervals: tuple[str, ...] = ("1d",)
    trigger_intervals: tuple[str, ...] = ("15m", "1h")
    symbols_max: int = 600
    warm_max: int = 60
    blacklist: tuple[str, ...] = ()
    """Symbols that are never watched, scored or traded."""
    watchlist: tuple[str, ...] = ()
    """Symbols that are watched whatever their volume, with trades and books."""
    factor_files: tuple[str, ...] = ()
    """Python files with factors of your own, each `FACTORS = (Factor(…), …)`; a factor also needs
    a weight in `params.weights`."""
    top: int = 20
    data_dir: str = "runs"
    metrics_port: int = 0
    """Prometheus on 127.0.0.1; 0: none."""
    heartbeat_url: str = ""
    """An address that is called while the run is alive, so that its silence is noticed; "": none."""
    heartbeat_s: float = 60.0
    """It is called so often."""

    def __post_init__(self) -> None:
        """Raise ValueError with one line for a value that cannot work."""
        if not (self.bot.isascii() and self.bot.isalnum() and len(self.bot) <= 4):
            raise ValueError(
                f"run.bot: found {self.bot!r}, allowed: 1 to 4 letters or digits (part of order ids)"
            )
        if not 10.0 <= self.paper_usdt <= 1e9:
            raise ValueError(f"run.paper_usdt: found {self.paper_usdt}, allowed: 10 to 1000000000")
        if not 1.0 <= self.heartbeat_s <= 86_400:
            raise ValueError(f"run.heartbeat_s: found {self.heartbeat_s}, allowed: 1 to 86400")
        parts = urlsplit(self.heartbeat_url)
        if self.heartbeat_url and not (parts.scheme in ("http", "https") and parts.hostname):
            raise ValueError(  # the address itself is a secret of such services
                "run.heartbeat_url: found no such address, allowed: http(s)://host/path"
            )
        if not 0 <= self.metrics_port <= 65_535:
            raise ValueError(
                f"run.metrics_port: found {self.metrics_port}, allowed: 0 (off) to 65535"
            )
        if not 1.0 <= self.scan_interval_s <= 86_400:
            raise ValueError(
                f"run.scan_interval_s: found {self.scan_interval_s}, allowed: 1 to 86400"
            )
        for key, low, high in (("symbols_max", 1, 600), ("warm_max", 0, 600), ("top", 1, 600)):
            value = getattr(self, key)
            if not low <= value <= high:
                raise ValueError(f"run.{key}: found {value}, allowed: {low} to {high}")
        if not self.data_dir:
            raise ValueError("run.data_dir: found '', allowed: a folder")
        both = sorted({s.upper() for s in self.blacklist} & {s.upper() for s in self.watchlist})
        if both:
            raise ValueError(
                f"run.watchlist: found {', '.join(both)} on run.blacklist too, allowed: one of the two"
            )
        self._check_intervals()

    def _check_intervals(self) -> None:
        for key in ("intervals", "rest_intervals", "trigger_intervals"):
            for interval in getattr(self, key):
                if interval not in INTERVAL_MS:
                    raise ValueError(
                        f"run.{key}: found {interval!r}, allowed: {', '.join(INTERVAL_MS)}"
                    )
        if not self.intervals:
            raise ValueError(f"run.intervals: found none, allowed: {', '.join(INTERVAL_MS)}")
        for interval in self.trigger_intervals:
            if interval not in self.intervals:
                raise ValueError(
                    f"run.trigger_intervals: found {interval!r},"
                    f" allowed: those of run.intervals ({', '.join(self.intervals)})"
                )


class LiveLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a live account may at most: all of them must be written, each only tightens `risk`."""

    risk_max_usdt: Decimal
    """Loss at the stop of one trade."""
    position_max: int
    symbol_notional_max_usdt: Decimal
    gross_notional_max_usdt: Decimal
    leverage_max: int
    daily_loss_max_usdt: Decimal

    def __post_init__(self) -> None:
        """Raise ValueError with one line for a limit that limits nothing or forbids all."""
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"live.limits.{name}: found {getattr(self, name)}, allowed: above 0"
                )


class LiveSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The second key to live trading: without `enabled` and `limits` here, `--live` is refused."""

    enabled: bool = False
    limits: LiveLimits | None = None
    """The account's own limits, a table [live.limits]."""


class VenueAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the venue is. Empty: the embedded simulated venue."""

    rest_url: str = ""
    ws_url: str = ""
    ws_api_url: str = ""
    spot_url: str = ""
    sapi_url: str = ""
    """Base URL of /sapi, where the key's rights are read."""
    key_file: str = ""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration; section names are the TOML tables."""

    run: RunSettings = RunSettings()
    venue: VenueAddress = VenueAddress()
    live: LiveSettings = LiveSettings()
    transport: TransportSettings = TransportSettings()
    client: ClientSettings = ClientSettings()
    ledger: LedgerSettings = LedgerSettings()
    account_feed: AccountFeedSettings = AccountFeedSettings()
    websocket: FeedSettings = FeedSettings()
    market: MarketSettings = MarketSettings()
    quality: QualitySettings = QualitySettings()
    params: ParamSet = ParamSet()
    pools: PoolSettings = PoolSettings()
    risk: RiskSettings = RiskSettings()
    trading: TradingSettings = TradingSettings()
    store: StoreSettings = StoreSettings()


def load_config(path: str) -> Config:
    """Defaults overlaid by the TOML file at `path` (none if empty).

    Raises UserFault with one line: file, key, what was found, what is allowed.
    """
    if not path:
        return checked(Config(), "built-in defaults")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserFault(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserFault(f"{path}: not UTF-8 text") from None
    try:
        body = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserFault(f"{path}: not valid TOML: {error}") from None
    return checked(_converted(body, path), path)


def _converted(body: dict[str, Any], path: str) -> Config:
    _check_keys(body, Config, "", path)
    try:
        return msgspec.convert(_on_shipped(body, path), Config)
    except msgspec.ValidationError as error:
        raise UserFault(f"{path}: {readable(str(error), Config)}") from None


def _on_shipped(body: dict[str, Any], path: str) -> dict[str, Any]:
    """`params.version` names the set that comes with the program; other keys of params overlay it.

    A name of one's own is for keys of one's own: alone it would call the default by another name.
    """
    own = body.get("params")
    version = own.get("version") if isinstance(own, dict) else None
    if not isinstance(own, dict) or not isinstance(version, str):
        return body
    if version not in SHIPPED:
        if len(own) == 1:
            shipped = ", ".join(SHIPPED)
            raise UserFault(
                f"{path}: params.version: found {version!r}, allowed: {shipped},"
                " or a name of your own with other keys of params beside it"
            )
        return body
    return {**body, "params": _overlaid(SHIPPED[version], own)}


def _overlaid(base: msgspec.Struct, own: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `own` instead of its own; sections key by key, tables whole."""
    out: dict[str, Any] = msgspec.to_builtins(base)
    for key, value in own.items():
        inner = getattr(base, key, None)
        is_section = isinstance(inner, msgspec.Struct) and isinstance(value, dict)
        out[key] = _overlaid(inner, value) if is_section else value  # type: ignore[arg-type]
    return out


def checked(config: Config, source: str) -> Config:
    """The same configuration, its parameter set validated. Raises UserFault with one line."""
    try:
        config.params.validate()
    except ValueError as error:
        raise UserFault(f"{source}: {error}") from None
    return config


def _check_keys(body: dict[str, Any], struct: type, prefix: str, path: str) -> None:
    """Name the nearest allowed key for each unknown one; msgspec would only say that it is unknown."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
    for key, value in body.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            allowed = ", ".join(sorted(fields))
            raise UserFault(f"{path}: unknown key {prefix}{key!s}; {hint}allowed: {allowed}")
        inner = fields[key]
        if (
            isinstance(value, dict)
            and isinstance(inner, type)
            and issubclass(inner, msgspec.Struct)
        ):
            _check_keys(value, inner, f"{prefix}{key}.", path)


def readable(text: str, struct: type) -> str:
    """msgspec's words with the place first, and the words that are allowed there:
    `run.mode: found 'yolo', allowed: signal, approve, auto`. `struct` is the type it read."""
    message, separator, place = text.rpartition(" - at `$")
    if not separator:
        return text
    key = place.rstrip("`").lstrip(".")
    words = _literals(struct, key)
    if words and message.startswith("Invalid enum value "):
        found = message.removeprefix("Invalid enum value ")
        return f"{key}: found {found}, allowed: {', '.join(words)}"
    return f"{key}: {message}" if key else message


def _literals(struct: type, key: str) -> tuple[str, ...]:
    """The words that the field `key` (dotted) of `struct` may hold, none if it is free."""
    kind: Any = struct
    for name in key.split("."):
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return ()
        kind = get_type_hints(kind).get(name)
    return get_args(kind) if get_origin(kind) is Literal else ()


def without_secrets(config: Config) -> Config:
    """The configuration as it may be journaled: addresses without what opens them."""
    beat, proxy = urlsplit(config.run.heartbeat_url), urlsplit(config.transport.proxy)
    hidden_beat = f"{beat.scheme}://{beat.hostname}/***" if beat.hostname else ""
    hidden_proxy = config.transport.proxy
    if proxy.username or proxy.password:
        place = proxy.netloc.rpartition("@")[2]
        hidden_proxy = urlunsplit((proxy.scheme, f"***@{place}", proxy.path, "", ""))
    return msgspec.structs.replace(
        config,
        run=msgspec.structs.replace(config.run, heartbeat_url=hidden_beat),
        transport=msgspec.structs.replace(config.transport, proxy=hidden_proxy),
    )


def render(config: Config, *, as_json: bool) -> str:
    """The configuration as TOML (or JSON), complete with defaults."""
    body = msgspec.to_builtins(config)
    if as_json:
        return msgspec.json.format(msgspec.json.encode(body), indent=2).decode()
    return "\n".join(_toml_table(name, values) for name, values in body.items())


def _toml_table(name: str, values: dict[str, Any]) -> str:
    plain = [(key, value) for key, value in values.items() if not isinstance(value, dict)]
    plain = [(key, value) for key, value in plain if value is not None]
    tables = [(key, value) for key, value in values.items() if isinstance(value, dict)]
    lines = [f"[{name}]", *(f"{key} = {_toml_value(value)}" for key, value in plain), ""]
    lines += [_toml_table(f"{name}.{key}", value) for key, value in tables]
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return '""'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return str(value)
