"""Query strings and signatures (BINANCE §6). What is signed is byte for byte what is sent.

Values are percent-encoded as UTF-8 *before* signing: symbols outside ASCII exist since 2025-10.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable
from typing import Protocol
from urllib.parse import quote

from cryptosignal.ground.secret import Secret


class Signer(Protocol):
    """Holds a key pair and signs payloads."""

    @property
    def api_key(self) -> Secret:
        """Sent as `X-MBX-APIKEY`."""
        ...

    def sign(self, payload: str) -> str:
        """The signature of `payload`, already fit for a URL."""
        ...


class HmacSigner:
    """HMAC-SHA256 in hex, the venue's default kind of key."""

    def __init__(self, api_key: Secret, secret: Secret) -> None:
        self._api_key = api_key
        self._secret = secret

    @property
    def api_key(self) -> Secret:
        """The public half."""
        return self._api_key

    def sign(self, payload: str) -> str:
        """64 hex digits."""
        secret = self._secret.reveal().encode()
        return hmac.digest(secret, payload.encode(), "sha256").hex()

    def __repr__(self) -> str:
        return "HmacSigner(***)"


class Ed25519Signer:
    """Ed25519 from a PEM (PKCS#8) private key: the secret half never reaches the venue."""

    def __init__(self, api_key: Secret, private_pem: Secret) -> None:
        """Raises ValueError with one line if the PEM is no Ed25519 private key."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self._api_key = api_key
        try:
            key = load_pem_private_key(private_pem.reveal().encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("private key: not a readable PEM (PKCS#8, no password)") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("private key: not an Ed25519 key")
        self._key = key

    @property
    def api_key(self) -> Secret:
        """The public half's id at the venue."""
        return self._api_key

    def sign(self, payload: str) -> str:
        """Base64, percent-encoded."""
        return quote(base64.b64encode(self._key.sign(payload.encode())).decode(), safe="")

    def __repr__(self) -> str:
        return "Ed25519Signer(***)"


def encode_params(params: Iterable[tuple[str, str]]) -> str:
    """`a=1&b=2`, every value percent-encoded as UTF-8, order kept."""
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in params)


def signed_query(
    params: Iterable[tuple[str, str]], signer: Signer, timestamp_ms: int, recv_window_ms: int
) -> str:
    """The whole query of a signed call; `signature` is last, as the venue demands."""
    payload = encode_params(
        [*params, ("recvWindow", str(recv_window_ms)), ("timestamp", str(timestamp_ms))]
    )
    return f"{payload}&signature={signer.sign(payload)}"
