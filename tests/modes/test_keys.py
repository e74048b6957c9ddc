"""Keys come from three places in order, never from the environment, and never show what is in them."""

from __future__ import annotations

import os
import stat
import sys
import types

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cryptosignal.binance.signing import Ed25519Signer, HmacSigner
from cryptosignal.ground.faults import UserFault
from cryptosignal.modes.keys import fingerprint, load_signer

KEY, SECRET = "planted-api-key-1", "planted-secret-2"
TEXT = f'api_key = "{KEY}"\nsecret = "{SECRET}"\n'


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def key_file(folder, text=TEXT, mode=0o600):
    path = folder / "key.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def refusal(account="live", path=""):
    with pytest.raises(UserFault) as caught:
        load_signer(account, path)
    text = str(caught.value)
    assert KEY not in text
    assert SECRET not in text
    assert "\n" not in text
    return text


def test_a_private_file_gives_a_key(tmp_path):
    """A file of mode 0600 gives a signer whose words show nothing of it."""
    signer = load_signer("live", key_file(tmp_path))
    assert isinstance(signer, HmacSigner)
    assert signer.api_key.reveal() == KEY
    assert SECRET not in repr(vars(signer)) + repr(signer)
    assert KEY not in fingerprint(signer)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o666])
def test_an_open_file_is_refused(tmp_path, mode):
    """A file that anyone else may read or write is refused with its mode."""
    text = refusal(path=key_file(tmp_path, mode=mode))
    assert f"{mode:04o}" in text
    assert "0600" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "allowed: api_key"),
        (KEY, "not TOML"),
        (f'api_key = "{KEY}"', "allowed: api_key with secret"),
        (f'api_key = "{KEY}"\nsecret = ""', "empty"),
        (f'api_key = "{KEY}"\nsecret = 7', "empty"),
        (
            f'api_key = "{KEY}"\nsecret = "{SECRET}"\nprivate_key = "x"',
            "api_key, private_key, secret",
        ),
        (f'api_key = "{KEY}"\nprivate_key = "{SECRET}"', "not a readable PEM"),
        (f'api_key = "{KEY}é"\nsecret = "{SECRET}"', "ASCII"),
        (TEXT + "#" * 20_000, "more than"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, words):
    """What is wrong with a credential is said without anything that is in it."""
    assert words in refusal(path=key_file(tmp_path, text))


def test_a_missing_file_is_one_line(tmp_path):
    """A file that is not there, or no file, is named."""
    assert "cannot be read" in refusal(path=str(tmp_path / "none"))
    assert "no plain file" in refusal(path=str(tmp_path))


def test_the_environment_is_never_read(monkeypatch):
    """Whatever variables hold, without a credential, a keyring or a file there is no key."""
    for name in ("BINANCE_API_KEY", "API_KEY", "CRYPTOSIGNAL_API_KEY", "BINANCE_API_SECRET"):
        monkeypatch.setenv(name, KEY)
    assert "found no key" in refusal()


def test_a_systemd_credential_comes_first(tmp_path, monkeypatch):
    """The service manager's credential of this account wins over a file; another account's is not used."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "cryptosignal-live").write_text('api_key = "from-systemd"\nsecret = "s"\n')
    path = key_file(tmp_path)
    assert load_signer("live", path).api_key.reveal() == "from-systemd"
    assert load_signer("testnet", path).api_key.reveal() == KEY


def test_a_keyring_comes_before_the_file(tmp_path, monkeypatch):
    """An entry of the desktop's keyring wins over a file; a keyring that fails is passed by."""
    errors = types.SimpleNamespace(KeyringError=RuntimeError)
    entries = {("cryptosignal", "live"): 'api_key = "from-keyring"\nsecret = "s"\n'}

    def get_password(service, account):
        if account == "testnet":
            raise RuntimeError
        return entries.get((service, account))

    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    monkeypatch.setitem(
        sys.modules, "keyring", types.SimpleNamespace(get_password=get_password, errors=errors)
    )
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    path = key_file(tmp_path)
    assert load_signer("live", path).api_key.reveal() == "from-keyring"
    assert load_signer("testnet", path).api_key.reveal() == KEY


def test_an_ed25519_key_is_read(tmp_path):
    """A PEM private key gives an Ed25519 signer."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    text = f'api_key = "{KEY}"\nprivate_key = """{pem.decode()}"""\n'
    assert isinstance(load_signer("live", key_file(tmp_path, text)), Ed25519Signer)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_somebody_elses_file_is_refused(tmp_path):
    """A private file of another user is not ours to use."""
    path = key_file(tmp_path)
    os.chown(path, 12_345, 12_345)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert "somebody else" in refusal(path=path)
