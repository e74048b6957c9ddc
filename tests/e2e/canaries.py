"""Planted secrets and how they are looked for: in any spelling, in files, words and compressed pieces."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

SHORTEST = 16
"""Fewer characters than this prove nothing."""
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")


def spellings(secret: str) -> set[bytes]:
    """What a secret looks like raw, percent-encoded, in hex and in base64 at each of its alignments."""
    raw = secret.encode()
    found = {raw, quote(secret, safe="").encode(), raw.hex().encode(), raw.hex().upper().encode()}
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # the first and the last groups depend on what stands beside the secret
            found.add(encode(b"\0" * shift + raw)[4 if shift else 0 :].rstrip(b"=")[:-2])
    return {text for text in found if len(text) >= SHORTEST}


def unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes as they are, and everything in them that zlib can inflate."""
    yield data
    for match in _ZLIB.finditer(data):
        try:
            inflated = zlib.decompressobj().decompress(data[match.start() :])
        except zlib.error:
            continue
        if inflated:
            yield inflated


def leaks(secrets: Iterable[str], texts: dict[str, bytes]) -> list[str]:
    """Which secret stands in which of the named texts."""
    wanted = {secret: spellings(secret) for secret in secrets}
    found = []
    for name, data in texts.items():
        pieces = list(unpacked(data))
        for secret, forms in wanted.items():
            if any(form in piece for piece in pieces for form in forms):
                found.append(f"{secret[:6]}… in {name}")
    return found


def files_under(folder: Path) -> dict[str, bytes]:
    """Every plain file of a folder, with its name."""
    return {
        str(path.relative_to(folder)): path.read_bytes() + path.name.encode()
        for path in folder.rglob("*")
        if path.is_file()
    }
