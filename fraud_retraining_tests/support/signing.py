"""Keys that sign a ledger's rows in tests, the same in every run, and rows that nobody signed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fraud_retraining.adapters.ledger.engines import driver_url
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.signed_rows import SignedRows
from fraud_retraining.adapters.ledger.tables import EVENTS, HEAD, RELEASES
from fraud_retraining.domain.ledger.hash_chain import Head, Row, canonical_json, chained
from fraud_retraining.domain.ledger.signatures import SignerPolicy, public_text, signing_key


def private_key(name: str) -> Ed25519PrivateKey:
    """The key of a name."""
    return Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"."))


def signer(name: str, **policy: Any) -> SignerPolicy:
    return SignerPolicy(public_key=public_text(private_key(name).public_key()), **policy)


SIGNERS: Mapping[str, SignerPolicy] = {
    "pipeline": signer("pipeline"),
    "page": signer("page", writes="decisions"),
    "scorer": signer("scorer", writes="answers"),
}


def signing_as(name: str, signers: Mapping[str, SignerPolicy] = SIGNERS) -> SignedRows:
    """What a process with the key of a name has."""
    return SignedRows(signers, lambda: signing_key(private_key(name), signers))


def signed_ledger(
    url: str, name: str = "pipeline", signers: Mapping[str, SignerPolicy] = SIGNERS, **more: Any
) -> Ledger:
    return Ledger(url, signed=signing_as(name, signers), **more)


def append_forged(
    url: str,
    kind: str,
    payload: Mapping[str, Any],
    *,
    release: Mapping[str, Any] | None = None,
    signed: Mapping[str, str] | None = None,
    stored: Mapping[str, Any] | None = None,
    head: bool = True,
    **columns: Any,
) -> Row:
    """A row that follows from the last one as it should, added by whom the guards let add, and its working row.

    `signed` gives `signer` and `signature`, `stored` columns that are none of what was hashed, `head` says whether the
    head row is set to it; `release` what the table of releases says of a version afterwards.
    """
    engine = sa.create_engine(driver_url(url))
    try:
        with engine.begin() as cn:
            last = cn.execute(sa.select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)).one()
            about: dict[str, Any] = {"subject": None, "as_of": None, "version": None, "fingerprint": None}
            values = {
                **about,
                "at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                "model": "fraud_detector",
                "kind": kind,
                "actor": "alice",
                "channel": "cli, unverified",
                "txn": "f" * 32,
                **columns,
            }
            row = chained(
                Row(seq=last.seq + 1, payload=canonical_json(payload), prev_hash=last.hash, hash="", **values)
            )
            row = row._replace(**cast(dict[str, Any], {**(signed or {}), **(stored or {})}))
            cn.execute(EVENTS.insert().values(row._asdict()))
            if head:
                cn.execute(HEAD.update().values(**Head(seq=row.seq, hash=row.hash).model_dump()))
            if release is not None:
                cn.execute(RELEASES.update().where(RELEASES.c.version == release["version"]).values(dict(release)))
    finally:
        engine.dispose()
    return row
