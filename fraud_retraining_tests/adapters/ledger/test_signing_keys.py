"""Private keys are read from one of two places, and shown to nobody."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from fraud_retraining.adapters.ledger.signing_keys import EVERYBODY, KEY_VARIABLE, new_key, read_key, readers_of
from fraud_retraining.domain.ledger.signatures import SignerPolicy
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining_tests.support.signing import SIGNERS, private_key

ENVIRONMENT = "an environment"


def pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, hidden: KeySerializationEncryption | None = None) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden or NoEncryption()).decode()


PAGE = pem(private_key("page"))


def test_a_new_key_is_for_this_account_only_and_signs_as_the_signer_of_its_public_half(tmp_path: Path):
    file = tmp_path / "keys" / "page.pem"
    public = new_key(file)
    assert file.stat().st_mode & 0o777 == 0o600 and readers_of(file) == ""
    assert read_key({"page": SignerPolicy(public_key=public)}, {}, file).signer == "page"
    assert public not in file.read_text()


def test_a_key_is_never_written_over(tmp_path: Path):
    file = tmp_path / "page.pem"
    new_key(file)
    before = file.read_bytes()
    with pytest.raises(SettingsError, match="never written over"):
        new_key(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("text", [PAGE, PAGE.replace("\n", "\\n"), f"  {PAGE}\n"], ids=["lines", "escaped", "blanks"])
def test_the_environment_wins_over_the_file(tmp_path: Path, text: str):
    file = tmp_path / "pipeline.pem"
    file.write_text(pem(private_key("pipeline")))
    assert read_key(SIGNERS, {KEY_VARIABLE: text}, file).signer == "page"
    assert read_key(SIGNERS, {KEY_VARIABLE: " "}, file).signer == "pipeline"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nothing", "is no private key in PEM"),
        (PAGE[:60], "is no private key in PEM"),
        (pem(private_key("page"), BestAvailableEncryption(b"x")), "without a password"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "of another kind than Ed25519"),
        (pem(private_key("mallory")), "that of no signer"),
    ],
    ids=["text", "cut", "password", "other kind", "no signer"],
)
@pytest.mark.parametrize("where", [ENVIRONMENT, "a file"])
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path: Path, text: str, why: str, where: str):
    file = tmp_path / "key.pem"
    file.write_text(text)
    with pytest.raises(SettingsError, match=why) as refusal:
        read_key(SIGNERS, {KEY_VARIABLE: text} if where == ENVIRONMENT else {}, file)
    secret = text.splitlines()[1] if "\n" in text else "no such text"
    assert secret not in str(refusal.value) and refusal.value.remedy


def test_without_a_key_the_ways_to_give_one_are_named(tmp_path: Path):
    with pytest.raises(SettingsError, match="has no private key") as refusal:
        read_key(SIGNERS, {}, None)
    assert KEY_VARIABLE in str(refusal.value.remedy) and "ledger.key_file" in str(refusal.value.remedy)
    with pytest.raises(SettingsError, match=r"ledger\.key_file cannot be read"):
        read_key(SIGNERS, {}, tmp_path / "gone.pem")


@pytest.mark.parametrize(("mode", "who"), [(0o600, ""), (0o400, ""), (0o640, "its group"), (0o604, EVERYBODY)])
def test_who_else_can_read_a_key_is_said(tmp_path: Path, mode: int, who: str):
    file = tmp_path / "key.pem"
    file.touch()
    file.chmod(mode)
    assert readers_of(file) == who
