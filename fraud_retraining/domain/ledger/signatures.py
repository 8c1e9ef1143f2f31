"""Signatures of the ledger's rows: who may sign which events, and whether a row is signed by one of them.

Here: signers as the settings name them, signing a row, and what is wrong with a row's signature. Not here: where
private keys come from (`adapters/ledger/signing_keys.py`), and from which row of a ledger on everything has to be
signed (`adapters/ledger/signed_rows.py`).

A signature is Ed25519 (RFC 8032) over a fixed line and the row's hash. The hash is over the row's content, its number
and the hash before it, so that a signature of one row is none of any other row, place or ledger.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from fraud_retraining.domain.ledger.events import POLICY_ACTOR, EventKind
from fraud_retraining.domain.ledger.hash_chain import MOST_SHOWN, Row, named, row_hash
from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CONTEXT = b"fraud-retraining ledger row\n"
"""What is signed before the hash: a signature that a key made for something else is none of a row."""
KEY_BYTES = 32
REMEMBERED = 50_000
"""Signatures that a process does not verify twice."""

APPROVED = "approved"
"""What a release is moved to by its approval, in the payload of `release_moved`."""

Writes = Literal["everything", "decisions", "answers"]
E = EventKind
KINDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "decisions": frozenset(
            {
                E.RELEASE_MOVED,
                E.APPROVAL_RECORDED,
                E.FLOOR_EXCEPTED,
                E.DECISION_REFUSED,
                E.PROMOTION_INTENDED,
                E.PROMOTION_DONE,
                E.PROMOTION_UNDONE,
                E.CHAMPION_MOVED_OUTSIDE,
                E.CHAMPION_CHECKED,
                E.SMOKE_TESTED,
                E.LINK_MADE,
                E.AUTOMATION_PAUSED,
                E.AUTOMATION_RESUMED,
                E.RECORD_ALTERED,
                E.RECORD_RESTORED,
            }
        ),
        "answers": frozenset({E.ANSWERS_LOGGED}),
    }
)
"""Kinds of events that a signer who does not write everything may write."""


def _checked_key(text: str) -> str:
    _public_key(text)
    return text


class SignerPolicy(Policy):
    """A key that may sign events."""

    public_key: Annotated[str, AfterValidator(_checked_key)] = Field(
        description="Ed25519 public key: base64 of its 32 bytes, as `audit key` prints it, or PEM."
    )
    writes: Writes = Field(
        "everything",
        description="Events that it may sign: everything; decisions (a page of approvals: decisions and the promotions "
        "that follow from them); answers (a scorer: that it logged answers).",
    )
    through: int | None = Field(
        None, ge=0, description="Last row that it may have signed, for a key that was replaced or lost; null: any row."
    )

    @property
    def key_bytes(self) -> bytes:
        """The 32 bytes of the key, however it is written."""
        return _public_key(self.public_key).public_bytes_raw()


class SigningKey(NamedTuple):
    """A private key, and the name of its signer."""

    signer: str
    private: "Ed25519PrivateKey"

    def signed(self, row: Row) -> Row:
        """The row with this signer's name and signature."""
        return row._replace(signer=self.signer, signature=self.private.sign(CONTEXT + row.hash.encode()).hex())

    def __repr__(self) -> str:
        return f"SigningKey({self.signer!r})"


def signing_key(private: "Ed25519PrivateKey", signers: Mapping[str, SignerPolicy]) -> SigningKey:
    """A private key under the name of the signer whose public key it has.

    Raises:
        SettingsError: no signer has it.
    """
    public = private.public_key()
    for name, signer in signers.items():
        if _public_key(signer.public_key) == public:
            return SigningKey(name, private)
    raise SettingsError(
        f"the private key of this process is that of no signer: its public key is {public_text(public)}",
        remedy=f"name it under ledger.signers, or give this process the key of one of them ({', '.join(signers)}).",
    )


def public_text(key: "Ed25519PublicKey") -> str:
    """A public key as settings hold it: base64 of its 32 bytes."""
    return base64.b64encode(key.public_bytes_raw()).decode()


class Unsound(NamedTuple):
    """What is wrong with a row that has to be signed."""

    why: str
    by_settings: bool
    """Whether settings of another time may find nothing wrong with it."""


def signature_problem(row: Row, signers: Mapping[str, SignerPolicy], *, hashed: bool = False) -> str | None:
    """What is wrong with a row that has to be signed, as a clause that names it; None where nothing is.

    `hashed` says that its content was found to give its hash already.
    """
    found = unsound(row, signers, hashed=hashed)
    return None if found is None else found.why


def unsound(row: Row, signers: Mapping[str, SignerPolicy], *, hashed: bool = False) -> Unsound | None:
    """The same, and whether it is the settings that say so."""
    if (why := _forged(row, signers, hashed=hashed)) is not None:
        return Unsound(f"{named(row)} {why}", by_settings=False)
    if (why := _not_permitted(row, signers)) is not None:
        return Unsound(f"{named(row)} {why}", by_settings=True)
    return None


def _forged(row: Row, signers: Mapping[str, SignerPolicy], *, hashed: bool) -> str | None:
    if not row.signer or not row.signature:
        return "is not signed"
    if not hashed and row.hash != row_hash(row):
        return "is not what was written: its content does not give its hash"
    signer = signers.get(row.signer)
    if signer is not None and not _verifies(signer.public_key, row.hash, row.signature):
        return f"has a signature that the key of {row.signer} did not make"
    return None


def _not_permitted(row: Row, signers: Mapping[str, SignerPolicy]) -> str | None:
    signer = signers.get(str(row.signer))
    if signer is None:
        return f"is signed as {str(row.signer)[:MOST_SHOWN]!r}, whom ledger.signers does not name"
    if signer.writes != "everything" and row.kind not in KINDS[signer.writes]:
        return f"is signed by {row.signer}, which may sign {signer.writes} only"
    if signer.writes == "decisions" and _approves_by_policy(row):
        return f"is signed by {row.signer}, which may not approve as the {POLICY_ACTOR}"
    if signer.through is not None and row.seq > signer.through:
        return f"is signed by {row.signer}, whose key was good up to row {signer.through}"
    return None


def _approves_by_policy(row: Row) -> bool:
    """Whether a candidate is approved without a person: what judged it decides that, never a page of approvals."""
    if row.kind != EventKind.RELEASE_MOVED or row.actor != POLICY_ACTOR:
        return False
    try:
        return bool(json.loads(row.payload)["to"] == APPROVED)
    except (ValueError, KeyError, TypeError, RecursionError):
        return True


@lru_cache(maxsize=REMEMBERED)
def _verifies(public_key: str, hash: str, signature: str) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        made = bytes.fromhex(signature)
        # One signature has one text: capitals and blanks, which are read alike, would let a changed row pass.
        if made.hex() != signature:
            return False
        _public_key(public_key).verify(made, CONTEXT + hash.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=256)
def _public_key(text: str) -> "Ed25519PublicKey":
    """The public key of a text.

    Raises:
        ValueError: it is none.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if "PRIVATE KEY" in text:
        raise ValueError("this is a private key; only the public one belongs into settings, and this one is not secret")
    if not text.lstrip().startswith("-----BEGIN"):
        try:
            found = base64.b64decode(text.strip(), validate=True)
        except binascii.Error:
            found = b""
        if len(found) != KEY_BYTES:
            raise ValueError(f"not the base64 of the {KEY_BYTES} bytes of an Ed25519 public key")
        return Ed25519PublicKey.from_public_bytes(found)
    try:
        key = load_pem_public_key(text.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"a key of another kind ({type(key).__name__.lstrip('_')}), not Ed25519")
    return key
