"""Where API keys come from: systemd credentials, the desktop's keyring, or a private file. In that order.

Never from environment variables: anything that runs inside Python can read those (RELIABILITY §4).
A credential is a small TOML text with `api_key` and either `secret` (HMAC) or `private_key` (an
Ed25519 PEM). What is wrong with one is said without a word of what is in it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import stat
import tomllib
from pathlib import Path
from typing import Final

from cryptosignal.binance.signing import Ed25519Signer, HmacSigner, Signer
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.secret import Secret

SERVICE: Final = "cryptosignal"
BYTES_MAX: Final = 16_384
_FIELDS: Final = ("api_key", "private_key", "secret")
_SHOWN: Final = 12


def load_signer(account: str, key_file: str) -> Signer:
    """The key of `account` (testnet or live). Raises UserFault with one line if there is none."""
    name = f"{SERVICE}-{account}"
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")  # a folder's path, not a secret
    credential = Path(folder) / name
    if folder and credential.is_file():
        return _signer(_read(credential, f"credential {name}"), f"credential {name}")
    kept = _from_keyring(account)
    if kept:
        return _signer(kept, f"keyring entry {SERVICE}/{account}")
    if key_file:
        path = Path(key_file).expanduser()
        _require_private(path)
        return _signer(_read(path, f"venue.key_file {path}"), f"venue.key_file {path}")
    raise UserFault(
        f"account {account}: found no key, allowed: a systemd credential {name}, a keyring entry"
        f" {SERVICE}/{account}, or venue.key_file (mode 0600)"
    )


def fingerprint(signer: Signer) -> str:
    """A short hash that tells keys apart and gives nothing away."""
    key = signer.api_key.reveal().encode()
    return hashlib.sha256(b"cryptosignal key\0" + key).hexdigest()[:_SHOWN]


def _from_keyring(account: str) -> str:
    """The desktop's keyring, where its library is installed; "" without one or without the entry."""
    if importlib.util.find_spec("keyring") is None:
        return ""
    keyring = importlib.import_module("keyring")
    errors = importlib.import_module("keyring.errors")
    try:
        return keyring.get_password(SERVICE, account) or ""
    except errors.KeyringError:
        return ""  # no keyring on this host: the file is next


def _require_private(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as error:
        raise UserFault(f"venue.key_file {path}: cannot be read ({error.strerror})") from None
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        raise UserFault(f"venue.key_file {path}: found no plain file, allowed: a file of mode 0600")
    if mode & 0o077:
        raise UserFault(f"venue.key_file {path}: found mode {mode:04o}, allowed: 0600 (chmod 600)")
    if found.st_uid != os.getuid():
        raise UserFault(f"venue.key_file {path}: found somebody else's, allowed: a file of yours")


def _read(path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            body = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise UserFault(f"{where}: cannot be read ({error.strerror})") from None
    if len(body) > BYTES_MAX:
        raise UserFault(f"{where}: found more than {BYTES_MAX} bytes, allowed: api_key and secret")
    return body.decode("utf-8", "replace")


def _signer(text: str, where: str) -> Signer:
    try:
        body = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise UserFault(f'{where}: not TOML (allowed: api_key = "…", secret = "…")') from None
    if sorted(body) not in (["api_key", "private_key"], ["api_key", "secret"]):
        known = [name for name in _FIELDS if name in body]
        raise UserFault(
            f"{where}: found {', '.join(known) or 'none'} and {len(body) - len(known)} other keys,"
            " allowed: api_key with secret, or with private_key"
        )
    if not all(isinstance(value, str) and value.strip() for value in body.values()):
        raise UserFault(f"{where}: found an empty value, allowed: text")
    api_key = Secret(body["api_key"].strip())
    if not api_key.reveal().isascii():
        raise UserFault(f"{where}: api_key: found letters outside ASCII, allowed: the venue's key")
    if "secret" in body:
        return HmacSigner(api_key, Secret(body["secret"].strip()))
    try:
        return Ed25519Signer(api_key, Secret(body["private_key"]))
    except ValueError as error:
        raise UserFault(f"{where}: {error}") from None
