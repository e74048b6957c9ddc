"""What our key may do at the venue, checked before anything is traded and once a day after.

A key that could move money away, works from any address, or may not trade futures is refused
(RELIABILITY §4). The venue's demo has no such question: it is skipped there, and said so.
"""

from __future__ import annotations

from cryptosignal.binance.decode.rest import KeyRights
from cryptosignal.ground.faults import Refused, UserFault
from cryptosignal.net.client import VenueClient

CHECK_EVERY_S = 86_400.0
LIVE, TESTNET = "live", "testnet"
CHECKED = (LIVE, TESTNET)


def reasons_against(rights: KeyRights) -> list[str]:
    """Everything that speaks against trading with such a key, in words."""
    found = []
    if rights.can_withdraw:
        found.append("it may withdraw")
    if rights.can_transfer:
        found.append("it may transfer")
    if not rights.ip_restricted:
        found.append("it is not restricted to addresses")
    if not rights.can_trade_futures:
        found.append("it may not trade futures")
    return found


async def check_key(client: VenueClient, account: str) -> str:
    """ "" if the key may be traded with, else why it was not asked. Raises UserFault with one line."""
    try:
        rights = await client.api_restrictions()
    except Refused as fault:
        raise UserFault(f"account {account}: the venue refuses the key: {fault}") from None
    if rights is None and account == LIVE:
        raise UserFault(
            "account live: the key's rights cannot be read: venue.sapi_url: found nothing,"
            " allowed: the base URL that serves /sapi/v1/account/apiRestrictions"
        )
    if rights is None:
        return "the venue's demo has no /sapi"
    against = reasons_against(rights)
    if against:
        raise UserFault(
            f"account {account}: the key is refused: {', '.join(against)} (allowed: no withdrawal,"
            " no transfer, restricted to addresses, futures)"
        )
    return ""
