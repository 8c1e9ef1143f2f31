"""A row is signed by one of the signers, or it is named; nothing about it can be changed afterwards."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import NO_HASH, Row, canonical_json, chained, named
from fraud_retraining.domain.ledger.signatures import (
    CONTEXT,
    KINDS,
    SignerPolicy,
    public_text,
    signature_problem,
    signing_key,
)
from fraud_retraining.domain.releases.promotion_mode import POLICY
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining_tests.support.signing import SIGNERS, private_key, signer

NULLABLE = ("subject", "as_of", "version", "fingerprint", "signer", "signature")


def row(**columns: Any) -> Row:
    values = {"subject": None, "as_of": "2026-11-20", "version": 7, "fingerprint": "f7", **columns}
    return chained(
        Row(
            **{
                "seq": 5,
                "at": "2026-11-22T13:00:00.000Z",
                "model": "fraud_detector",
                "kind": EventKind.RELEASE_MOVED,
                "actor": "alice",
                "channel": "cli",
                "txn": "t",
                "payload": canonical_json({"to": "approved"}),
                "prev_hash": NO_HASH,
                "hash": "",
                **values,
            }
        )
    )


def signed(name: str = "pipeline", **columns: Any) -> Row:
    return signing_key(private_key(name), SIGNERS).signed(row(**columns))


def problem(found: Row, **signers: SignerPolicy) -> str:
    return signature_problem(found, {**SIGNERS, **signers}) or ""


def test_a_row_that_its_signer_wrote_is_sound():
    assert problem(signed()) == ""
    assert problem(signed("page")) == ""
    assert problem(signed("scorer", kind=EventKind.ANSWERS_LOGGED)) == ""


@pytest.mark.parametrize("field", Row._fields)
@given(data=st.data())
def test_a_change_of_any_column_is_found(field: str, data: st.DataObject):
    good = signed()
    value = getattr(good, field)
    if isinstance(value, int):
        other: Any = data.draw(st.integers(0, 2**31).filter(lambda found: found != value))
    elif value and data.draw(st.booleans()):
        # One character: in a hash or a signature that is one of its digits, or its case.
        place = data.draw(st.integers(0, len(value) - 1))
        letter = data.draw(st.sampled_from("0123456789abcdefABCDEF \n").filter(lambda found: found != value[place]))
        other = value[:place] + letter + value[place + 1 :]
    else:
        texts = st.text(max_size=200) | (st.none() if field in NULLABLE else st.nothing())
        other = data.draw(texts.filter(lambda found: found != value))
    assert problem(good._replace(**{field: other}))


@pytest.mark.parametrize("field", [name for name in Row._fields if name not in ("hash", "signer", "signature")])
def test_a_change_with_a_new_hash_that_fits_is_found(field: str):
    good = signed()
    other = chained(good._replace(**{field: 99 if isinstance(getattr(good, field), int) else "2026-01-01"}))
    assert problem(other) == f"{named(other)} has a signature that the key of pipeline did not make"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"signature": None}, "is not signed"),
        ({"signer": None}, "is not signed"),
        ({"signature": ""}, "is not signed"),
        ({"signer": "mallory"}, "'mallory', whom ledger.signers does not name"),
        ({"signer": "page"}, "has a signature that the key of page did not make"),
        ({"signature": "no hex"}, "has a signature that the key of pipeline did not make"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], why: str):
    assert why in problem(signed()._replace(**changes))


def test_a_signature_in_capitals_or_with_blanks_is_another_text():
    good = signed()
    assert good.signature is not None
    for text in (good.signature.upper(), f" {good.signature}", f"{good.signature[:2]} {good.signature[2:]}"):
        assert "did not make" in problem(good._replace(signature=text))


def test_a_signature_of_the_bare_hash_is_none_of_the_row():
    found = row()
    bare = private_key("pipeline").sign(found.hash.encode()).hex()
    assert "did not make" in problem(found._replace(signer="pipeline", signature=bare))


@pytest.mark.parametrize("kind", EventKind)
@pytest.mark.parametrize("name", ["page", "scorer"])
def test_a_signer_writes_what_it_may_and_nothing_else(name: str, kind: EventKind):
    allowed = kind in KINDS[SIGNERS[name].writes]
    assert bool(problem(signed(name, kind=kind))) is not allowed


def test_neither_page_nor_scorer_writes_what_a_model_rests_on():
    for kind in (EventKind.VERSION_REGISTERED, EventKind.MODEL_EVALUATED, EventKind.STATE_PUBLISHED):
        assert all(kind not in kinds for kinds in KINDS.values())
    for kind in (EventKind.SIGNING_BEGAN, EventKind.ROW_VOIDED, EventKind.HISTORY_ARCHIVED):
        assert all(kind not in kinds for kinds in KINDS.values())


@pytest.mark.parametrize(
    ("payload", "refused"),
    [(f'{{"to":"{ReleaseState.APPROVED}"}}', True), ('{"to":"superseded"}', False), ("no", True)],
)
def test_a_page_does_not_approve_in_place_of_what_judges(payload: str, refused: bool):
    policy = {"kind": EventKind.RELEASE_MOVED, "actor": POLICY, "payload": payload}
    assert ("may not approve" in problem(signed("page", **policy))) is refused
    assert problem(signed("pipeline", **policy)) == ""


def test_a_kind_that_somebody_made_up_is_quoted_and_bounded():
    found = problem(row(kind="\x1b[2J\n" + "x" * 99))
    assert "\x1b" not in found and "\n" not in found and len(found) < 99


def test_a_replaced_key_is_good_up_to_its_row():
    old = signer("pipeline", through=5)
    assert problem(signed(seq=5), pipeline=old) == ""
    assert "whose key was good up to row 5" in problem(signed(seq=6), pipeline=old)


def test_a_key_may_be_written_in_two_ways():
    public = private_key("pipeline").public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert signature_problem(signed(), {"pipeline": SignerPolicy(public_key=pem)}) is None
    assert SignerPolicy(public_key=pem).key_bytes == SignerPolicy(public_key=public_text(public)).key_bytes


EC = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not the base64 of the 32 bytes"),
        ("pipeline", "not the base64 of the 32 bytes"),
        (base64.b64encode(b"x" * 31).decode(), "not the base64 of the 32 bytes"),
        ("-----BEGIN PUBLIC KEY-----\nnothing\n-----END PUBLIC KEY-----", "not a public key in PEM"),
        (EC.decode(), "a key of another kind"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", "this is a private key"),
    ],
)
def test_what_is_no_key_is_refused(text: str, why: str):
    with pytest.raises(ValidationError, match=why) as refusal:
        SignerPolicy(public_key=text)
    assert "abc" not in refusal.value.errors(include_input=False)[0]["msg"]


def test_a_private_key_belongs_to_the_signer_with_its_public_half():
    assert signing_key(private_key("page"), SIGNERS).signer == "page"
    with pytest.raises(SettingsError, match="that of no signer") as refusal:
        signing_key(private_key("mallory"), SIGNERS)
    assert public_text(private_key("mallory").public_key()) in refusal.value.what


def test_a_key_does_not_show_itself():
    assert repr(signing_key(private_key("page"), SIGNERS)) == "SigningKey('page')"


def test_what_is_signed_can_be_verified_without_this_software():
    found = signed()
    assert found.signature is not None
    private_key("pipeline").public_key().verify(bytes.fromhex(found.signature), CONTEXT + found.hash.encode())
    assert CONTEXT == b"fraud-retraining ledger row\n", "stored signatures are over these very bytes"
