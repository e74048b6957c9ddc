"""Request parameters: reading them with the venue's own refusals (BINANCE §6), and checking signatures."""

from __future__ import annotations

import base64
import hmac
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from cryptosignal.sim.account import Account
from cryptosignal.sim.orders import Refusal

RECV_WINDOW_DEFAULT_MS = 5_000
RECV_WINDOW_MAX_MS = 60_000
AHEAD_MAX_MS = 1_000
_NUMBER = re.compile(r"^[0-9]{1,20}(\.[0-9]{1,20})?$")
_INTEGER = re.compile(r"^-?[0-9]{1,20}$")
_CLIENT_ID = re.compile(r"^[\.A-Z\:/a-z0-9_-]{1,36}$")
_SIGNATURE = re.compile(r"(?:^|&)signature=([^&]*)")


def missing(name: str) -> Refusal:
    """-1102 for a parameter that is absent or empty."""
    return Refusal(
        -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    )


class Params:
    """Decoded parameters of one request; query and form body together."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    @classmethod
    def parse(cls, query: str, body: str) -> Params:
        """From the raw strings."""
        found = parse_qsl(query, keep_blank_values=True) if query else []
        return cls(dict(found + parse_qsl(body, keep_blank_values=True) if body else found))

    def has(self, name: str) -> bool:
        """Sent and not empty."""
        return bool(self.values.get(name))

    def text(self, name: str, default: str | None = None) -> str:
        """A string; -1102 when mandatory and missing."""
        value = self.values.get(name, "")
        if value:
            return value
        if default is None:
            raise missing(name)
        return default

    def number(self, name: str, default: int | None = None) -> int:
        """An integer; -1102 when malformed."""
        value = self.values.get(name, "")
        if not value and default is not None:
            return default
        if not _INTEGER.match(value):
            raise missing(name)
        return int(value)

    def decimal(self, name: str) -> Decimal:
        """A plain decimal; -1100 for scientific notation and other characters, -1102 when missing."""
        value = self.text(name)
        if not _NUMBER.match(value):
            raise Refusal(
                -1100,
                f"Illegal characters found in parameter '{name}'; legal range is {_NUMBER.pattern!r}.",
            )
        try:
            return Decimal(value)
        except InvalidOperation:
            raise missing(name) from None

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean spelt true or false."""
        value = self.values.get(name, "").lower()
        if not value:
            return default
        if value not in ("true", "false"):
            raise missing(name)
        return value == "true"

    def choice(
        self, name: str, allowed: tuple[str, ...], code: int, what: str, default: str | None = None
    ) -> str:
        """One of `allowed`, else the Refusal (code, `Invalid <what>.`)."""
        value = self.text(name, default)
        if value not in allowed:
            raise Refusal(code, f"Invalid {what}.")
        return value

    def client_id(self, name: str) -> str:
        """A client order id, "" when not sent; -4015 when malformed."""
        value = self.values.get(name, "")
        if value and not _CLIENT_ID.match(value):
            raise Refusal(-4015, "Client order id is not valid.")
        return value


def check_time(params: Params, now_ms: int) -> None:
    """recvWindow: accept iff timestamp < now + 1000 and now - timestamp <= recvWindow (BINANCE §3)."""
    if not params.has("timestamp"):
        raise missing("timestamp")
    stamp = params.number("timestamp")
    window = params.number("recvWindow", RECV_WINDOW_DEFAULT_MS)
    if not 0 < window <= RECV_WINDOW_MAX_MS:
        raise Refusal(-1131, "recvWindow must be less than 60000.")
    if stamp >= now_ms + AHEAD_MAX_MS:
        raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - stamp > window:
        raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")


def check_signature(account: Account, query: str, body: str) -> None:
    """HMAC, RSA or Ed25519 over query and body joined without "&", signature left out (BINANCE §6)."""
    found = _SIGNATURE.search(query) or _SIGNATURE.search(body)
    if found is None or not found[1]:
        raise missing("signature")
    unsigned = _SIGNATURE.sub("", query).lstrip("&")
    payload = (unsigned + _SIGNATURE.sub("", body).lstrip("&") if body else unsigned).encode()
    if not is_signed(account, payload, unquote(found[1])):
        raise Refusal(-1022, "Signature for this request is not valid.")


def read_public_key(path: str) -> str:
    """The PEM text of a public key file. Raises ValueError with one line for anything else."""
    try:
        text = Path(path).read_text(encoding="ascii")
        key = serialization.load_pem_public_key(text.encode())
    except (OSError, ValueError) as error:
        why = str(error).split("\n", 1)[0][:100]
        raise ValueError(f"public key {path}: {why} (allowed: a PEM file)") from None
    if not isinstance(key, ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise ValueError(f"public key {path}: {type(key).__name__} (allowed: Ed25519, RSA)")
    return text


def is_signed(account: Account, payload: bytes, signature: str) -> bool:
    """Whether `signature` is the account's over `payload`."""
    expected = hmac.digest(account.secret.encode(), payload, "sha256").hex()
    if hmac.compare_digest(expected.encode(), signature.lower().encode()):
        return True
    if not account.public_pem:
        return False
    key = serialization.load_pem_public_key(account.public_pem.encode())
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(raw, payload)
            return True
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(raw, payload, padding.PKCS1v15(), hashes.SHA256())
            return True
    except (InvalidSignature, ValueError):
        return False
    return False
