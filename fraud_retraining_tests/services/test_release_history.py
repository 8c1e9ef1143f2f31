"""The record alone tells why a version is live: what trained it, how it was judged, and who let it serve."""

from datetime import timedelta
from pathlib import Path

import pytest

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.releases import NewRelease
from fraud_retraining.adapters.mlflow.environment import environment
from fraud_retraining.adapters.pages.html import release_html
from fraud_retraining.domain.alerts.notices import LinkPolicy
from fraud_retraining.domain.audit.history import Change, differences, libraries_line, why
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.candidate_shadow import CandidateShadow, ShadowFigures
from fraud_retraining.domain.review.model_card import card_markdown
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import Conflict
from fraud_retraining.services.candidate_shadows import record_shadow
from fraud_retraining.services.release_history import read_release_history
from fraud_retraining_tests.support.ledger_history import (
    FIRST,
    HOSTILE,
    approved,
    promoted,
    request_retrain,
    trained,
    waiting,
    window,
    with_history,
)
from fraud_retraining_tests.support.matured import matured, record, record_watch, watched

pytest_plugins = ("fraud_retraining_tests.support.databases",)


@pytest.fixture(scope="module")
def history_ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return with_history(Ledger(f"sqlite:///{tmp_path_factory.mktemp('history_ledger')}/ledger.db"))


def test_what_trained_it_is_reported_to_the_last_digest(history_ledger: Ledger):
    history = read_release_history(history_ledger, 2)
    as_of = FIRST + timedelta(days=2)
    assert history.window == window(as_of)
    assert {day.digest for use, day in history.days if use == "training"} == {
        digest(day.isoformat()) for day in window(as_of).days.training
    }
    assert history.making.parameters["n_estimators"] == 20 and history.making.parameters["reg_lambda"] == 5.0
    assert history.making.environment == environment()
    assert history.making.window_digest == digest(history.window)
    assert history.data_digest != read_release_history(history_ledger, 1).data_digest
    assert (history.asked.trigger, history.asked.reason, history.asked.by) == (
        "schedule",
        "48 hours are over",
        "automation",
    )
    assert history.asked.summary == "schedule: 48 hours are over"
    assert history.asked.model_copy(update={"reason": ""}).summary == "schedule"


def test_who_approved_it_and_why_survives_what_came_later(history_ledger: Ledger):
    history = read_release_history(history_ledger, 2)
    assert history.release.state == "rolled_back" and history.release.reason == "alerts doubled"
    assert (history.decision.what, history.decision.by, history.decision.via) == (
        "approved", "bob", "command line, own token",
    )  # fmt: skip
    assert history.decision.reason == HOSTILE
    assert history.replaced == 1


def test_it_says_when_a_version_served_and_that_it_came_back(history_ledger: Ledger):
    first, second = read_release_history(history_ledger, 1), read_release_history(history_ledger, 2)
    assert first.live and not second.live
    (began, ended), (again, still) = first.served
    assert began < ended <= again and still is None
    ((since, until),) = second.served
    assert ended <= since < until
    assert [step.what for step in second.steps][-3:] == [
        "promotion begun, in place of version 1", "promoted, in place of version 1", "rolled back",
    ]  # fmt: skip
    assert "rollback begun, in place of version 2" in [step.what for step in first.steps]


def test_gates_come_with_value_threshold_and_margin(history_ledger: Ledger):
    gates = {gate.name: gate for gate in read_release_history(history_ledger, 2).gates}
    assert gates["no_regression"].applicable and gates["no_regression"].margin > 0
    assert gates["average_precision_floor"].threshold == 0.1
    assert not {gate.name: gate for gate in read_release_history(history_ledger, 1).gates}["no_regression"].applicable


def test_a_rejection_names_who_and_why(history_ledger: Ledger):
    history = read_release_history(history_ledger, 3)
    assert (history.decision.what, history.decision.by, history.decision.reason) == (
        "rejected",
        "alice",
        "worse at night",
    )
    assert history.replaced is None and history.served == ()


class TestLibraries:
    """Which libraries made a version, against those of the champion."""

    def libraries_line(
        self, tmp_path: Path, packages: tuple[dict[str, str] | None, ...], xgboost: str = "3.2.0"
    ) -> str:
        """The line about version 2, whose environment and champion's were recorded with these packages."""
        ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
        for version, named in enumerate(packages, start=1):
            made_by = environment().model_dump(mode="json") | {"installed_digest": digest(named)}
            payload = {**made_by, **({"packages": named} if named is not None else {})}
            ledger.append_changed(
                EventKind.CONFIGURATION_CHANGED,
                keys=EventKeys(subject="environment"),
                payload=payload,
                actor="alice",
            )
            as_of = FIRST + timedelta(days=2 * version)
            waiting(ledger, version, as_of, version - 1 or None, xgboost="3.2.0" if version == 1 else xgboost)
            if version == 1:
                assert libraries_line(read_release_history(ledger, 1)) == "No champion to compare libraries with."
                approved(ledger, 1)
                promoted(ledger, 1, None)
        return libraries_line(read_release_history(ledger, 2))

    def test_the_same(self, tmp_path: Path):
        same = {"numpy": "2.4", "scipy": "1.17"}
        assert self.libraries_line(tmp_path, (same, same)) == "Same libraries as version 1."

    def test_what_fits_and_scores_is_named_before_what_stands_beside_it(self, tmp_path: Path):
        before, after = {"scipy": "1.16", "xgboost-cpu": "3.2.0"}, {"scipy": "1.17", "xgboost-cpu": "3.3.0", "new": "1"}
        line = self.libraries_line(tmp_path, (before, after), xgboost="3.3.0")
        assert line == (
            "Libraries moved since version 1: xgboost-cpu 3.2.0 \u2192 3.3.0, new (not there) \u2192 1, "
            "scipy 1.16 \u2192 1.17."
        )

    def test_an_older_record_says_what_it_can(self, tmp_path: Path):
        line = self.libraries_line(tmp_path, (None, {"scipy": "1.17"}), xgboost="3.3.0")
        assert line == ("Libraries moved since version 1: xgboost-cpu 3.2.0 \u2192 3.3.0, and packages not on record.")

    def test_packages_of_one_side_alone_are_no_change_of_the_settings(self):
        assert differences({"a": 1}, {"a": 1, "packages": {"scipy": "1.17"}}) == []


def test_settings_that_changed_since_the_champion_are_a_difference(history_ledger: Ledger):
    changed = {change.what: change for change in read_release_history(history_ledger, 2).changed}
    assert changed["gates.alert_budget"] == Change(what="gates.alert_budget", before="10", after="20")
    assert changed["note"].before == "(not there)"
    assert read_release_history(history_ledger, 1).changed == ()
    assert read_release_history(history_ledger, 3).changed == read_release_history(history_ledger, 2).changed, (
        "version 1 served again"
    )


def test_steps_are_its_own(history_ledger: Ledger):
    for version in (1, 2, 3, 4):
        steps = {step.seq for step in read_release_history(history_ledger, version).steps}
        assert steps <= {event.seq for event in history_ledger.events(version=version)}


def test_an_as_of_day_that_was_trained_twice_keeps_the_two_apart(sqlite_ledger: Ledger):
    """The second time with another window: each version has its own, and its own request."""
    waiting(sqlite_ledger, 1, FIRST, None)
    request_retrain(sqlite_ledger, FIRST, trigger="manual", reason="again")
    other = window(FIRST).model_copy(update={"features_policy": digest("other plan")}).model_dump(mode="json")
    sqlite_ledger.append(EventKind.WINDOW_BUILT, actor="pipeline", keys=EventKeys(as_of=FIRST), payload=other)
    history = read_release_history(sqlite_ledger, 1)
    assert history.window == window(FIRST)
    assert history.asked.reason == "48 hours are over"


def test_a_day_that_was_rewritten_afterwards_is_reported_until_it_is_back(sqlite_ledger: Ledger):
    waiting(sqlite_ledger, 1, FIRST, None)
    used = (FIRST - timedelta(days=5)).isoformat()
    keys = EventKeys(subject="version 1", version=1, as_of=FIRST)
    for rewritten in ([used], []):
        payload = {"rewritten": rewritten, "reproducible": not rewritten, "reason": ""}
        sqlite_ledger.append(EventKind.REPRODUCIBILITY_CHANGED, payload=payload, actor="pipeline", keys=keys)
        assert read_release_history(sqlite_ledger, 1).rewritten == tuple(rewritten)


def test_alerts_about_the_day_or_the_version_are_reported(sqlite_ledger: Ledger):
    waiting(sqlite_ledger, 1, FIRST, None)
    notice = {"title": "the artifact is damaged"}
    sqlite_ledger.append(
        EventKind.NOTICE_OPENED, actor="watch", keys=EventKeys(subject="artifact:1"), payload={**notice, "version": 1}
    )
    sqlite_ledger.append(
        EventKind.NOTICE_OPENED, actor="watch", keys=EventKeys(subject="data", as_of=FIRST), payload={"title": "late"}
    )
    sqlite_ledger.append(
        EventKind.NOTICE_OPENED, actor="watch", keys=EventKeys(subject="other"), payload={**notice, "version": 2}
    )
    assert [alert.reason for alert in read_release_history(sqlite_ledger, 1).alerts] == [
        "the artifact is damaged",
        "late",
    ]


def test_a_champion_made_by_hand_says_so(sqlite_ledger: Ledger):
    waiting(sqlite_ledger, 1, FIRST, None)
    approved(sqlite_ledger, 1)
    promoted(sqlite_ledger, 1, None)
    waiting(sqlite_ledger, 2, FIRST + timedelta(days=2), 1)
    sqlite_ledger.champion_moved(2, actor="somebody", channel="registry")
    history = read_release_history(sqlite_ledger, 2)
    assert history.live and history.decision is None and history.replaced == 1
    assert "made champion by hand" in [step.what for step in history.steps]
    assert "replaced by version 2 by hand" in [step.what for step in read_release_history(sqlite_ledger, 1).steps]
    assert read_release_history(sqlite_ledger, 1).served[0][1] is not None


def test_a_training_that_said_less_has_a_shorter_history(sqlite_ledger: Ledger):
    """As the ledger of an earlier version of this software has it."""
    model = trained(sqlite_ledger, FIRST)
    event = sqlite_ledger.last(EventKind.MODEL_TRAINED)
    payload = {name: value for name, value in event.payload.items() if name != "making"}
    sqlite_ledger.append(
        EventKind.MODEL_TRAINED,
        actor="pipeline",
        keys=EventKeys(as_of=FIRST, fingerprint=model.fingerprint),
        payload=payload,
    )
    new = NewRelease(1, model.fingerprint, FIRST, "manual", artifact_digest="x", verdict_passed=True)
    sqlite_ledger.open_release(new, actor="p", channel="c")
    history = read_release_history(sqlite_ledger, 1)
    assert (history.making, history.asked, history.evaluation) == (None, None, None)
    assert history.model == model


def test_a_verdict_that_was_judged_again_is_in_the_history_and_in_its_sentence(tmp_path: Path):
    ledger, verdict = with_history(Ledger(f"sqlite:///{tmp_path}/ledger.db")), matured(version=2, champion=1)
    record(ledger, verdict)
    history = read_release_history(ledger, 2)
    assert history.matured == verdict
    assert verdict.summary in why(history) and verdict.summary in card_markdown(history, None).replace("\\", "")
    assert [step.reason for step in history.steps if step.what == "judged again: refuted"] == [verdict.summary]
    assert read_release_history(ledger, 1).matured is None


def test_what_live_rows_said_before_and_after_a_promotion_is_in_the_history_and_on_the_page(tmp_path: Path):
    ledger = with_history(Ledger(f"sqlite:///{tmp_path}/ledger.db"))
    release, watch = ledger.release_by_version(2), watched(2, 1)
    assert release is not None
    figures = ShadowFigures(0.97, 100, 0.12, 1.08, 5_000, 4_800)
    shadow = CandidateShadow(
        version=2, as_of=FIRST, champion_version=1, days=(FIRST,), rows=9, alert_entity="customer", **vars(figures)
    )
    for _ in range(2):
        record_shadow(ledger, shadow, release.fingerprint)
        record_watch(ledger, watch)
    history = read_release_history(ledger, 2)
    assert (history.shadow, history.watch) == (shadow, watch)
    said = [step.reason for step in history.steps if step.what in ("scored in shadow", "watched: clearly worse, ended")]
    assert said == [shadow.summary, watch.summary]
    assert watch.summary in why(history)
    page = release_html(history, None, None, LinkPolicy())
    assert "12% of the 100 daily alerts would be about others" in page and "clearly worse, ended" in page
    assert (read_release_history(ledger, 1).shadow, read_release_history(ledger, 1).watch) == (None, None)


def test_an_unknown_version_is_refused_with_those_that_are_known(history_ledger: Ledger):
    with pytest.raises(Conflict, match="knows no version 41") as refusal:
        read_release_history(history_ledger, 41)
    assert "1, 2, 3, 4" in refusal.value.remedy


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1}}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [("a.b", "1", "2")]),
        ({"a": {"b": 1}}, {"a": None}, [("a", "(not there)", "None"), ("a.b", "1", "(not there)")]),
        ({"a": [1]}, {"a": [1, 2]}, [("a", "1", "1, 2")]),
        (
            {"who": [{"name": "anna", "slack": "U1"}]},
            {"who": [{"name": "bert", "slack": "U2"}, {"name": "anna", "slack": "U3"}]},
            [("who.anna.slack", "U1", "U3"), ("who.bert.slack", "(not there)", "U2")],
        ),
        ({}, {"long": "x" * 500}, [("long", "(not there)", "x" * 120 + "...")]),
    ],
)
def test_a_difference_names_what_is_another_value_now(before, after, expected):
    assert [(one.what, one.before, one.after) for one in differences(before, after)] == expected


def test_a_history_leaves_a_whole_chain(history_ledger: Ledger, tmp_path: Path):
    assert history_ledger.verify().ok
