"""The one error of decoding."""

from __future__ import annotations

from typing import Any

import msgspec

from cryptosignal.ground.faults import VenueFault


class Garbled(VenueFault):
    """The venue's bytes cannot be read as what was asked for; the text names the field, not the body.

    Like a lost answer, it says nothing of what the venue did: a read may be tried again.
    """

    is_retryable = True


def decoded(decoder: msgspec.json.Decoder[Any], body: bytes, what: str) -> Any:
    """`body` read by `decoder`; `Garbled` says what was expected and where it failed."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Garbled(f"{what}: {error}") from None
