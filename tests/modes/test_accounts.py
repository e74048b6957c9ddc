"""Which account a run may trade on: each thing that is missing is one line, limits only tighten."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from cryptosignal.binance.decode.rest import KeyRights
from cryptosignal.binance.routes import MAINNET, TESTNET
from cryptosignal.binance.signing import HmacSigner
from cryptosignal.ground.faults import Refused, UserFault
from cryptosignal.ground.secret import Secret
from cryptosignal.modes.accounts import check_history, choose_account, within_limits
from cryptosignal.modes.config import Config, LiveLimits, LiveSettings, RunSettings, VenueAddress
from cryptosignal.modes.rights import check_key
from cryptosignal.risk.settings import RiskSettings

LIMITS = LiveLimits(
    risk_max_usdt=Decimal(3),
    position_max=2,
    symbol_notional_max_usdt=Decimal(500),
    gross_notional_max_usdt=Decimal(900),
    leverage_max=3,
    daily_loss_max_usdt=Decimal(25),
)
GOOD = KeyRights(ip_restricted=True, can_withdraw=False, can_transfer=False, can_trade_futures=True)


@pytest.fixture
def key_file(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = tmp_path / "key"
    path.write_text('api_key = "planted-key"\nsecret = "planted-secret"\n')
    path.chmod(0o600)
    return str(path)


def config(account, key="", **live):
    return Config(
        run=RunSettings(account=account),
        venue=VenueAddress(key_file=key),
        live=LiveSettings(**live),
    )


def refused(config, venue, *, armed=False):
    with pytest.raises(UserFault) as caught:
        choose_account(config, venue, MAINNET, None, is_armed=armed)
    return str(caught.value)


def test_a_whole_live_account_is_chosen(key_file):
    """With flag, configuration, limits and key a live account is chosen, named without a secret."""
    whole = config("live", key_file, enabled=True, limits=LIMITS)
    found = choose_account(whole, "binance", MAINNET, None, is_armed=True)
    assert found.kind == "live"
    assert found.is_checked
    assert found.identity.startswith("live@fapi.binance.com#")
    assert "planted" not in found.identity


def test_what_a_live_account_lacks_is_named(key_file):
    """Flag, `enabled`, limits, venue and key: each missing one is a line with what is allowed."""
    assert "--live" in refused(config("live", key_file, enabled=True, limits=LIMITS), "binance")
    bare = config("live", key_file)
    assert "live.enabled" in refused(bare, "binance", armed=True)
    assert "live.limits" in refused(config("live", key_file, enabled=True), "binance", armed=True)
    assert "risk_max_usdt" in refused(config("live", key_file, enabled=True), "binance", armed=True)
    whole = config("live", enabled=True, limits=LIMITS)
    assert "found no key" in refused(whole, "binance", armed=True)
    for venue in ("embedded", "testnet"):
        assert "allowed: binance" in refused(whole, venue, armed=True)


def test_the_flag_alone_arms_nothing(key_file):
    """`--live` with another account is a mistake and is said."""
    for account in ("sim", "none", "testnet"):
        assert "--live" in refused(config(account, key_file), "testnet", armed=True)


def test_testnet_needs_its_venue_and_a_key(key_file):
    """A testnet account needs the testnet and a key, no arming."""
    found = choose_account(config("testnet", key_file), "testnet", TESTNET, None, is_armed=False)
    assert (found.kind, found.is_checked) == ("testnet", True)
    assert "allowed: testnet" in refused(config("testnet", key_file), "binance")


def test_without_a_choice_the_account_is_simulated_or_paper(key_file):
    """`sim` is the embedded venue's account; at a real venue it is paper, whatever keys lie about."""
    signer = HmacSigner(Secret("a"), Secret("b"))
    assert choose_account(config("sim"), "embedded", MAINNET, signer, is_armed=False).kind == "sim"
    for account in ("sim", "paper"):
        found = choose_account(config(account, key_file), "binance", MAINNET, None, is_armed=False)
        assert (found.kind, found.is_checked) == ("paper", False)
        assert found.identity == "paper@fapi.binance.com"
        assert "planted" not in found.signer.api_key.reveal()
    assert (
        choose_account(config("none"), "embedded", MAINNET, signer, is_armed=False).signer is None
    )
    assert "allowed: binance, testnet" in refused(config("paper"), "embedded")


def test_limits_only_tighten():
    """A live account's limits lower what `risk` allows and never raise it."""
    live = config("live", enabled=True, limits=LIMITS)
    risk = within_limits(live).risk
    assert (risk.risk_max_usdt, risk.position_max, risk.leverage_max) == (Decimal(3), 2, 3)
    assert risk.gross_notional_max_usdt == Decimal(900)
    tight = RiskSettings(risk_max_usdt=Decimal(1), position_max=1, unlimited_leverage=True)
    risk = within_limits(msgspec.structs.replace(live, risk=tight)).risk
    assert (risk.risk_max_usdt, risk.position_max) == (Decimal(1), 1)
    assert not risk.unlimited_leverage
    assert within_limits(config("testnet", enabled=True, limits=LIMITS)).risk == RiskSettings()


def test_a_folder_belongs_to_one_account():
    """Runs of another account in the folder are refused, without the key's fingerprint in the words."""
    check_history("live@a#1", {"r1": "", "r2": "live@a#1"}, "runs")
    check_history("", {"r1": "live@a#1"}, "runs")
    for other in ("sim", "live@a#2", "testnet@b#1"):
        with pytest.raises(UserFault, match="folder of its own") as caught:
            check_history("live@a#1", {"r1": other}, "runs")
        assert "#" not in str(caught.value)


class Asked:
    """A client that answers one question."""

    def __init__(self, answer):
        self.answer = answer

    async def api_restrictions(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_a_harmless_key_passes():
    """No withdrawal, no transfer, restricted to addresses, futures: the key may trade."""
    assert await check_key(Asked(GOOD), "live") == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"can_withdraw": True}, "may withdraw"),
        ({"can_transfer": True}, "may transfer"),
        ({"ip_restricted": False}, "not restricted to addresses"),
        ({"can_trade_futures": False}, "may not trade futures"),
    ],
)
@pytest.mark.parametrize("account", ["live", "testnet"])
async def test_a_dangerous_key_is_refused(change, words, account):
    """Each right that could do harm, or lacks, refuses the key in one line with what is allowed."""
    with pytest.raises(UserFault, match=words) as caught:
        await check_key(Asked(msgspec.structs.replace(GOOD, **change)), account)
    assert "allowed: no withdrawal" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_all_that_is_wrong_is_said_at_once():
    """A key with every fault is told all of them."""
    bad = KeyRights(
        ip_restricted=False, can_withdraw=True, can_transfer=True, can_trade_futures=False
    )
    with pytest.raises(UserFault, match=r"withdraw, it may transfer, .* addresses, .* futures"):
        await check_key(Asked(bad), "live")


async def test_the_demo_is_skipped_and_the_real_venue_is_not():
    """Where the question does not exist, testnet goes on and says so, live is refused."""
    assert "no /sapi" in await check_key(Asked(None), "testnet")
    with pytest.raises(UserFault, match="sapi_url"):
        await check_key(Asked(None), "live")


async def test_a_key_that_the_venue_does_not_know_is_one_line():
    """An unknown key is refused in one line with the venue's code."""
    with pytest.raises(UserFault, match="-2015"):
        await check_key(Asked(Refused(-2015, "Invalid API-key, IP, or permissions", 401)), "live")
