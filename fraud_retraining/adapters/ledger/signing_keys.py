"""Private keys that sign the ledger's rows: made, kept in a file, read from it or from the environment.

Here: files and variables that hold a key, and who else can read them. Not here: what is signed
(`domain/ledger/signatures.py`). No message repeats a private key.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fraud_retraining.adapters.storage.locations import reaching
from fraud_retraining.domain.ledger.signatures import SignerPolicy, SigningKey, public_text, signing_key
from fraud_retraining.domain.values.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_VARIABLE = "LEDGER_PRIVATE_KEY"
EVERYBODY = "every account"
MOST_BYTES = 10_000
"""A longer file is no key."""
HOW = f"set {KEY_VARIABLE} to a private key in PEM, or ledger.key_file to a file that holds one"


def read_key(signers: Mapping[str, SignerPolicy], environment: Mapping[str, str], file: Path | None) -> SigningKey:
    """The private key of this process: that of the environment, else of the file.

    Raises:
        SettingsError: there is none, it cannot be read, or no signer has it.
    """
    text = environment.get(KEY_VARIABLE, "").strip()
    if text:
        return signing_key(_private(text, KEY_VARIABLE), signers)
    if file is None:
        raise SettingsError(
            f"rows of the ledger have to be signed (ledger.signers: {', '.join(signers)}), and this process has no "
            "private key",
            remedy=f"{HOW}; `fraud-retraining audit key` makes one.",
        )
    return signing_key(_private(_text_of(file), f"ledger.key_file, {file},"), signers)


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(MOST_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise SettingsError(
            f"ledger.key_file cannot be read: {error}",
            remedy="correct the path or its permissions; the account that runs this has to read it.",
        ) from None


def _private(text: str, source: str) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        # Some ways to set a variable cannot hold lines.
        key = load_pem_private_key(text.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(
            f"{source} is no private key in PEM without a password",
            remedy="`fraud-retraining audit key` makes one, and so does `openssl genpkey -algorithm ed25519`.",
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            f"{source} is a key of another kind than Ed25519", remedy="`fraud-retraining audit key` makes one."
        )
    return key


def new_key(file: Path) -> str:
    """Make a key pair; the private half goes into a new file that only this account may read.

    Returns:
        The public half, as settings hold it.

    Raises:
        SettingsError: the file is there already.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    with reaching("write", file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Made with its mode: a `chmod` afterwards would leave it open for a moment.
            handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            raise SettingsError(
                f"{file} is there already; a key is never written over", remedy="name another file."
            ) from None
        with os.fdopen(handle, "wb") as opened:
            opened.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return public_text(key.public_key())


def readers_of(file: Path) -> str:
    """Who else than its owner may read a file: `""`, `"its group"` or `EVERYBODY`."""
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & stat.S_IRWXO:
        return EVERYBODY
    return "its group" if mode & stat.S_IRWXG else ""
