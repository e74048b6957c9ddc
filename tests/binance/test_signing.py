"""Signatures: the documented vector, and exactly what is sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import parse_qsl, unquote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.binance.signing import Ed25519Signer, HmacSigner, encode_params, signed_query
from cryptosignal.ground.secret import Secret

DOCUMENTED_SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
DOCUMENTED_PAYLOAD = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC"
    "&recvWindow=5000&timestamp=1591702613943"
)
DOCUMENTED_SIGNATURE = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"


def pem(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> Secret:
    return Secret(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
    )


def test_the_documented_vector():
    """The venue's own example gives its documented signature."""
    signer = HmacSigner(Secret("key"), Secret(DOCUMENTED_SECRET))
    assert signer.sign(DOCUMENTED_PAYLOAD) == DOCUMENTED_SIGNATURE


def test_the_documented_call_as_a_whole():
    """The same through the query builder: order kept, signature last."""
    signer = HmacSigner(Secret("key"), Secret(DOCUMENTED_SECRET))
    params = [
        ("symbol", "BTCUSDT"),
        ("side", "BUY"),
        ("type", "LIMIT"),
        ("quantity", "1"),
        ("price", "9000"),
        ("timeInForce", "GTC"),
    ]
    query = signed_query(params, signer, 1591702613943, 5000)
    assert query == f"{DOCUMENTED_PAYLOAD}&signature={DOCUMENTED_SIGNATURE}"


@given(st.lists(st.tuples(st.sampled_from(["symbol", "note"]), st.text(max_size=12)), max_size=4))
def test_what_is_signed_is_what_is_sent(params: list[tuple[str, str]]):
    """Whatever the characters, the signature covers the encoded bytes and decodes to the values."""
    query = signed_query(params, HmacSigner(Secret("k"), Secret("s")), 1, 3000)
    payload, _, signature = query.rpartition("&signature=")
    assert signature == hmac.new(b"s", payload.encode(), hashlib.sha256).hexdigest()
    assert query.isascii()
    assert parse_qsl(payload, keep_blank_values=True)[: len(params)] == params


def test_symbols_outside_ascii_are_encoded_before_signing():
    """UTF-8 percent-encoding happens first, or the venue answers -1022."""
    assert encode_params([("symbol", "币安USDT")]) == "symbol=%E5%B8%81%E5%AE%89USDT"
    assert encode_params([("id", "a/b:c d")]) == "id=a%2Fb%3Ac%20d"


def test_ed25519_signs_verifiably():
    """The signature decodes to one that the public key accepts."""
    key = ed25519.Ed25519PrivateKey.generate()
    signature = Ed25519Signer(Secret("key"), pem(key)).sign("a=1&b=2")
    key.public_key().verify(base64.b64decode(unquote(signature)), b"a=1&b=2")


@pytest.mark.parametrize(
    "text", ["not a pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_broken_private_key_is_one_line_without_the_key(text: str):
    """The error names what was expected and nothing of what was given."""
    with pytest.raises(ValueError, match="PEM") as caught:
        Ed25519Signer(Secret("key"), Secret(text))
    assert "AAAA" not in str(caught.value)


def test_another_kind_of_key_is_refused():
    """An RSA key is not taken for Ed25519."""
    key = rsa.generate_private_key(65537, 2048)
    with pytest.raises(ValueError, match="Ed25519"):
        Ed25519Signer(Secret("key"), pem(key))


def test_signers_show_nothing():
    """Neither half of a key appears in a repr."""
    signer = HmacSigner(Secret("planted-key"), Secret("planted-secret"))
    assert "planted" not in repr(signer) + str(signer) + repr(signer.api_key) + str(vars(signer))
