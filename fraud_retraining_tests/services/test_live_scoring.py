"""What a scorer does with what it cannot read or write; how it scores is tested over HTTP (`serving`)."""

import json
import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from fraud_retraining.adapters.ledger.signing_keys import new_key
from fraud_retraining.commands.implementation.scores_server import scorer_of
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.orchestration.names import ONLINE_STATE
from fraud_retraining.orchestration.resources import open_ledger
from fraud_retraining.services.live_scoring import MODEL, NOT_LOADED, SERVING_LOG, STATE, LiveScorer, NotReady
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import AS_OF, LOOKED_BACK_ON, ProjectHome
from fraud_retraining_tests.support.signing import append_forged

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NEXT = AS_OF + timedelta(days=1)


@pytest.fixture
def ready(home: ProjectHome) -> ProjectHome:
    home.configure(promotion={"mode": "auto"})
    ingest(LOOKED_BACK_ON, AS_OF)
    return home


def ingest(first: date, last: date) -> None:
    code, answer, _ = run("ingest", "--from", first.isoformat(), "--to", last.isoformat())
    assert code == 0, answer


def following() -> LiveScorer:
    scorer = scorer_of(load_settings())
    scorer.follow()
    assert scorer.problems == {}
    return scorer


def transaction(number: int, **changes: Any) -> dict[str, Any]:
    """A transaction of the day after the state, of keys that the lake does not have."""
    key = 900_000_000 + number
    made = {"TRANSACTION_ID": key, "TX_DATETIME": f"{NEXT}T10:00:00Z", "CUSTOMER_ID": key, "TERMINAL_ID": key}
    return {**made, "TX_AMOUNT": 10.0, **changes}


def digest(scorer: LiveScorer, row: dict[str, Any]) -> str:
    (answer,) = scorer.score([row]).answers
    return answer.features_digest


def test_a_transaction_that_is_refused_is_not_the_past_of_others(ready: ProjectHome):
    scorer = following()
    alone = digest(scorer, transaction(1))
    two = transaction(2)
    keys = {"CUSTOMER_ID": two["CUSTOMER_ID"], "TERMINAL_ID": two["TERMINAL_ID"]}
    earlier = transaction(3, **keys, TX_DATETIME=f"{NEXT}T09:00:00Z", TX_AMOUNT=3.5e38)
    refused = scorer.score([transaction(4, **keys, TX_DATETIME=f"{NEXT}T09:00:00Z"), earlier])
    assert [(one.row, one.field) for one in refused.problems] == [(1, "TX_AMOUNT")]
    assert digest(scorer, two) == alone


def test_a_fault_that_nobody_foresaw_is_told_and_does_not_end_following(
    ready: ProjectHome, monkeypatch: pytest.MonkeyPatch
):
    scorer = following()

    def broken() -> None:
        raise ZeroDivisionError("in a library")

    with monkeypatch.context() as patched:
        patched.setattr(scorer._registry, "champion_number", broken)
        scorer.follow()
        assert scorer.problems == {MODEL: "ZeroDivisionError: in a library"}
    scorer.follow()
    assert scorer.problems == {}


def own_artifact(project: ProjectHome) -> Path:
    """The file of the champion; MLflow of a copied home would read that of the home that was copied."""
    with closing(sqlite3.connect(project.home / "mlflow.db")) as database, database:
        ((location,),) = database.execute(
            "SELECT storage_location FROM model_versions JOIN registered_model_aliases USING (name, version) "
            "WHERE alias = 'champion'"
        )
        own = project.home / "artifacts" / location.partition("/artifacts/")[2]
        database.execute(
            "UPDATE logged_models SET artifact_location = ? WHERE artifact_location = ?", (str(own), location)
        )
        assert database.total_changes == 1
    return own / "artifacts" / "fraud_model" / "model.json"


def change_a_byte(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])


def test_a_champion_whose_artifact_was_changed_is_not_served_and_the_former_one_stays(ready: ProjectHome):
    scorer = scorer_of(load_settings())
    assert scorer.missing == {MODEL: NOT_LOADED, STATE: NOT_LOADED}
    with pytest.raises(NotReady, match=f"model: {NOT_LOADED}"):
        scorer.score([transaction(1)])
    scorer.follow()
    assert scorer.missing == {} and scorer._model is not None
    # As if another version served, so that the champion is opened again.
    scorer._model = replace(scorer._model, version=scorer._model.version - 1)
    former = scorer.model_version
    file = own_artifact(ready)
    good = file.read_bytes()
    for damage in (change_a_byte, Path.unlink):
        damage(file)
        scorer.follow()
        assert scorer.model_version == former and "is not the one that was recorded" in scorer.missing[MODEL]
        assert scorer.score([transaction(1)]).model_version == former
    file.write_bytes(good)
    scorer.follow()
    assert scorer.missing == {} and scorer.model_version != former


def test_a_state_that_nobody_signed_is_not_served_and_the_former_one_stays(ready: ProjectHome, tmp_path: Path):
    file = tmp_path / "pipeline.pem"
    signers = {"pipeline": {"public_key": new_key(file)}}
    ready.configure(promotion={"mode": "auto"}, ledger={"signers": signers, "key_file": str(file)})
    assert run("audit", "sign", "--by", "alice", "--reason", "keys are there")[0] == 0
    scorer = following()
    assert scorer.state_day == AS_OF
    ingest(NEXT, NEXT)
    ledger = open_ledger(load_settings())
    published = ledger.last(EventKind.STATE_PUBLISHED, subject=NEXT.isoformat())
    assert published is not None
    forged = append_forged(ledger._url, published.kind, published.payload, subject=NEXT.isoformat(), model=ledger.model)
    scorer.follow()
    assert f"row {forged.seq} (state published) is not signed" in scorer.missing[STATE]
    assert scorer.state_day == AS_OF and scorer.score([transaction(1)]).answers
    ledger.void_row(forged.seq, actor="alice", channel="cli", reason="forged")
    scorer.follow()
    assert scorer.problems == {} and scorer.state_day == NEXT


def test_a_damaged_copy_of_a_state_is_named_and_made_again(ready: ProjectHome, caplog: pytest.LogCaptureFixture):
    wanted = digest(following(), transaction(1))
    for name in ("about.json", "values.npy"):
        (damaged,) = (ready.home / "online" / "states").glob(f"*/terminal/{name}")
        good = damaged.read_bytes()
        damaged.write_bytes(good[: len(good) // 2])
        caplog.clear()
        scorer = following()
        assert f"the copy {damaged.parent.parent} of the state" in caplog.text and "made again" in caplog.text
        assert damaged.read_bytes() == good and digest(scorer, transaction(1)) == wanted


def test_a_state_is_taken_over_once_and_never_an_earlier_one(ready: ProjectHome, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "fraud_retraining.scores")
    scorer = following()
    current = ready.home / "store" / ONLINE_STATE / "current.json"
    named = json.loads(current.read_text())
    current.write_text(json.dumps({**named, "digest": "0" * 64}))
    for _ in range(3):
        scorer.follow()
    assert sum("serves" in one for one in caplog.messages if one.startswith("the state")) == 2
    current.write_text(json.dumps({**named, "day": (AS_OF - timedelta(days=1)).isoformat()}))
    scorer.follow()
    assert f"that after {AS_OF} still serves" in scorer.problems[STATE] and scorer.state_day == AS_OF


def test_nothing_is_answered_that_the_journal_did_not_take(ready: ProjectHome):
    scorer = following()
    journal = ready.home / "online" / "journal"
    journal.rename(journal.with_name("elsewhere"))
    with pytest.raises(NotReady, match="serving log"):
        scorer.score([transaction(1)])
    assert str(journal) in scorer.problems[SERVING_LOG]
    journal.with_name("elsewhere").rename(journal)
    assert scorer.score([transaction(1)]).answers
    scorer.flush()
    assert scorer.problems == {}


def test_a_scorer_that_starts_again_scores_transactions_of_the_day_before(ready: ProjectHome):
    row = transaction(1)
    scored = digest(following(), row)
    ingest(NEXT, NEXT)
    again = following()
    assert again.state_day == NEXT
    (answer,) = again.score([row]).answers
    assert (answer.features_digest, answer.state.day, answer.state.days_late) == (scored, AS_OF, 0)
