"""Which account a run trades on, and what must be true before it may.

`sim` is the embedded venue's own account, `paper` one in this process on the real venue's market, the
default there. `testnet` and `live` are the real venue's, with a key of
yours; `live` is armed by the command line and by the configuration together, within limits that are
written down, and starts small. Each refusal is one line.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from cryptosignal.binance.routes import Routes
from cryptosignal.binance.signing import Signer
from cryptosignal.ground.faults import UserFault
from cryptosignal.modes.config import Config, LiveLimits
from cryptosignal.modes.keys import fingerprint, load_signer
from cryptosignal.modes.paper import paper_signer
from cryptosignal.modes.rights import CHECKED, LIVE, TESTNET
from cryptosignal.net.client import ledger_host
from cryptosignal.risk.settings import RiskSettings

NONE, SIM, PAPER = "none", "sim", "paper"
_VENUE_OF = {LIVE: "binance", TESTNET: "testnet"}


@dataclass(frozen=True)
class AccountChoice:
    """The account of a run: `kind` none without one; `identity` names it in journals ("" for none),
    without a secret in it."""

    kind: str = NONE
    signer: Signer | None = None
    identity: str = ""

    @property
    def is_checked(self) -> bool:
        """Its key has to pass the check of its rights."""
        return self.kind in CHECKED


def choose_account(
    config: Config, venue: str, routes: Routes, embedded: Signer | None, *, is_armed: bool
) -> AccountChoice:
    """The account that this run may use. Raises UserFault with one line if it may not.

    `embedded` is the embedded venue's key, None at the real venue. `is_armed`: `--live` was given.
    """
    account = config.run.account
    if is_armed and account != LIVE:
        raise UserFault(f"--live: found account {account!r}, allowed: with --account live alone")
    if account == NONE:
        return AccountChoice()
    if account == SIM and embedded is not None:
        return AccountChoice(SIM, embedded, SIM)
    if account in (SIM, PAPER):
        if venue == "embedded":
            raise UserFault("account paper: found venue 'embedded', allowed: binance, testnet")
        return AccountChoice(PAPER, paper_signer(), f"{PAPER}@{ledger_host(routes.rest_url)}")
    wanted = _VENUE_OF[account]
    if venue != wanted:
        raise UserFault(f"account {account}: found venue {venue!r}, allowed: {wanted}")
    if account == LIVE:
        _require_armed(config, is_armed=is_armed)
    signer = load_signer(account, config.venue.key_file)
    identity = f"{account}@{ledger_host(routes.rest_url)}#{fingerprint(signer)}"
    return AccountChoice(account, signer, identity)


def _require_armed(config: Config, *, is_armed: bool) -> None:
    if not is_armed:
        raise UserFault("account live: found no --live, allowed: with --live on the command line")
    if not config.live.enabled:
        raise UserFault("live.enabled: found false, allowed: true, to trade live")
    if config.live.limits is None:
        names = ", ".join(LiveLimits.__struct_fields__)
        raise UserFault(f"live.limits: found none, allowed: a table with {names}")


def named(config: Config, choice: AccountChoice) -> Config:
    """The configuration with the account that was chosen under its own name."""
    run = msgspec.structs.replace(config.run, account=choice.kind)
    return msgspec.structs.replace(config, run=run)


def within_limits(config: Config) -> Config:
    """The configuration with the account's own limits in force: they only ever tighten."""
    limits = config.live.limits
    if config.run.account != LIVE or limits is None:
        return config
    risk: RiskSettings = config.risk
    tighter = msgspec.structs.replace(
        risk,
        unlimited_leverage=False,
        **{
            name: min(getattr(risk, name), getattr(limits, name))
            for name in limits.__struct_fields__
        },
    )
    return msgspec.structs.replace(config, risk=tighter)


def check_history(identity: str, former: dict[str, str], data_dir: str) -> None:
    """One data folder, one account: positions of another would be looked for at this one's venue.

    `former` maps a run's folder to its account's identity. Raises UserFault with one line.
    """
    for run, other in former.items():
        if identity and other and other != identity:
            raise UserFault(
                f"data folder {data_dir}: run {run} traded on {_short(other)}, this one's is"
                f" {_short(identity)}: give each account a folder of its own (--data-dir)"
            )


def _short(identity: str) -> str:
    return identity.partition("#")[0] if identity.startswith(CHECKED) else identity
