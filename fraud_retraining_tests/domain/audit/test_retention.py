"""What goes and what stays: nothing that serves, may serve again, or that an audit asks for."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.audit.retention import (
    KeptRun,
    KeptVersion,
    PastRun,
    Removal,
    RetentionPolicy,
    forgettable,
    removals,
)
from fraud_retraining.domain.releases.release import Release, ReleaseState

S = ReleaseState
START = datetime(2026, 1, 1, tzinfo=UTC)
NONE = RetentionPolicy(successful_runs=1, failed_runs=0, rejected_artifacts=0)


def run(day: int, succeeded: bool | None = True, model: bool = True) -> KeptRun:
    return KeptRun(run_id=f"r{day}", started_at=START + timedelta(days=day), holds_artifact=model, succeeded=succeeded)


def release(day: int, state: ReleaseState, promoted: bool = False) -> Release:
    at = START + timedelta(days=day)
    values: dict[str, Any] = {"trigger": "schedule", "artifact_digest": "d", "verdict_passed": True, "moved_by": "x"}
    times = {"opened_at": at, "moved_at": at, "promoted_at": at if promoted else None}
    as_of = date(2026, 1, 1) + timedelta(days=day)
    return Release(model="m", version=day, fingerprint=f"f{day}", as_of=as_of, state=state, **values, **times)


def version(
    day: int, state: ReleaseState | None, *aliases: str, promoted: bool = False, run_id: str | None = None
) -> KeptVersion:
    known = release(day, state, promoted) if state else None
    return KeptVersion(version=day, run_id=run_id or f"r{day}", aliases=aliases, release=known)


def gone(policy: RetentionPolicy, runs: Sequence[KeptRun], versions: Sequence[KeptVersion] = ()) -> list[str]:
    return [f"{one.what} {one.run_id}" for one in removals(policy, runs, versions)]


class TestArtifacts:
    @pytest.mark.parametrize("state", [S.REJECTED, S.EXPIRED, S.WITHDRAWN, S.GATE_FAILED, S.SUPERSEDED])
    def test_of_candidates_that_never_served_go_beyond_the_latest(self, state: ReleaseState) -> None:
        policy = RetentionPolicy(rejected_artifacts=2)
        days = range(1, 6)
        found = removals(policy, [run(day) for day in days], [version(day, state) for day in days])
        assert [(one.what, one.version) for one in found] == [("artifact", 1), ("artifact", 2), ("artifact", 3)]
        assert all("the latest 2" in one.reason and one.as_of is not None for one in found)

    @pytest.mark.parametrize(
        "kept",
        [
            version(1, S.PROMOTED, "champion", promoted=True),
            version(1, S.PROMOTING),
            version(1, S.REGISTERED),
            version(1, S.AWAITING_APPROVAL, "candidate"),
            version(1, S.APPROVED),
            version(1, S.SUPERSEDED, promoted=True),
            version(1, S.ROLLED_BACK, promoted=True),
            version(1, S.REJECTED, "champion"),
            version(1, S.REJECTED, "shadow"),
            version(1, None),
        ],
        ids=lambda one: f"{one.release.state if one.release else 'unknown'} {' '.join(one.aliases)}",
    )
    def test_of_what_serves_may_serve_or_is_unknown_stay_whatever_the_numbers(self, kept: KeptVersion) -> None:
        assert gone(NONE, [run(1)], [kept]) == []

    def test_that_two_versions_share_stay(self) -> None:
        shared = [version(1, S.REJECTED), version(2, S.PROMOTED, "champion", promoted=True, run_id="r1")]
        assert gone(NONE, [run(1)], shared) == []

    def test_that_are_gone_already_do_not_go_again(self) -> None:
        assert gone(NONE, [run(1, model=False)], [version(1, S.REJECTED)]) == []

    def test_of_former_champions_stay_unless_a_number_is_set(self) -> None:
        days = range(1, 5)
        runs, versions = [run(day) for day in days], [version(day, S.SUPERSEDED, promoted=True) for day in days]
        serving = ([*runs, run(9)], [*versions, version(9, S.PROMOTED, "champion", promoted=True)])
        assert gone(NONE, *serving) == []
        set_to_three = NONE.model_copy(update={"former_champions": 3})
        assert gone(set_to_three, *serving) == ["artifact r1"]


class TestRuns:
    def test_that_came_to_no_version_go_beyond_the_latest_of_their_kind(self) -> None:
        policy = RetentionPolicy(successful_runs=2, failed_runs=1)
        runs = [run(day, succeeded=day % 2 == 0, model=False) for day in range(1, 9)]
        assert gone(policy, runs) == ["run r1", "run r2", "run r3", "run r4", "run r5"]

    def test_of_versions_stay_for_the_audit(self) -> None:
        runs, versions = [run(day) for day in range(1, 30)], [version(day, S.REJECTED) for day in range(1, 30)]
        assert {one.what for one in removals(NONE, runs, versions)} == {"artifact"}

    def test_that_may_be_under_way_stay(self) -> None:
        assert gone(NONE, [run(1, succeeded=None), run(2, succeeded=None, model=False)]) == []

    def test_take_their_model_with_them(self) -> None:
        policy = RetentionPolicy(failed_runs=1, rejected_artifacts=1)
        assert gone(policy, [run(day, succeeded=False) for day in (1, 2, 3)]) == ["run r1", "run r2"]

    def test_whose_model_is_kept_stay_with_it(self) -> None:
        policy = RetentionPolicy(failed_runs=0, rejected_artifacts=2)
        assert gone(policy, [run(day, succeeded=False) for day in (1, 2, 3)]) == ["run r1"]

    def test_that_are_kept_lose_their_model_beyond_the_latest(self) -> None:
        policy = RetentionPolicy(failed_runs=3, rejected_artifacts=1)
        assert gone(policy, [run(day, succeeded=False) for day in (1, 2, 3)]) == ["artifact r1", "artifact r2"]


states = st.sampled_from([*S, None])
policies = st.builds(
    RetentionPolicy,
    successful_runs=st.integers(1, 4),
    failed_runs=st.integers(0, 4),
    rejected_artifacts=st.integers(0, 4),
    former_champions=st.none() | st.integers(1, 4),
)


@given(
    policies,
    st.lists(st.tuples(st.sampled_from([True, False, None]), st.booleans()), max_size=25),
    st.lists(st.tuples(st.integers(0, 30), states, st.booleans(), st.booleans()), max_size=25),
)
def test_whatever_there_is_the_law_holds(
    policy: RetentionPolicy,
    given_runs: list[tuple[bool | None, bool]],
    given_versions: list[tuple[int, ReleaseState | None, bool, bool]],
) -> None:
    runs = [run(day, succeeded, model) for day, (succeeded, model) in enumerate(given_runs)]
    versions = [
        version(number, state, *(["champion"] if named else []), promoted=promoted, run_id=f"r{of}")
        for number, (of, state, promoted, named) in enumerate(given_versions)
    ]
    found = removals(policy, runs, versions)
    assert len({one.run_id for one in found}) == len(found), "nothing goes twice"
    for one in found:
        _require_lawful(one, runs, versions)
    left = _after(runs, found)
    assert removals(policy, left, versions) == [], "what is left is kept: doing it again does nothing"


def _require_lawful(one: Removal, runs: list[KeptRun], versions: list[KeptVersion]) -> None:
    of = [other for other in versions if other.run_id == one.run_id]
    assert one.what == "artifact" or not of, "a version keeps its run"
    for other in of:
        assert not other.aliases
        assert other.release is not None
        assert other.release.state not in {S.REGISTERED, S.AWAITING_APPROVAL, S.APPROVED, S.PROMOTING, S.PROMOTED}
    (about,) = [run for run in runs if run.run_id == one.run_id]
    assert of or about.succeeded is not None


def _after(runs: list[KeptRun], found: list[Removal]) -> list[KeptRun]:
    what = {one.run_id: one.what for one in found}
    return [
        run.model_copy(update={"holds_artifact": False}) if what.get(run.run_id) == "artifact" else run
        for run in runs
        if what.get(run.run_id) != "run"
    ]


def test_a_run_that_later_candidates_are_compared_with_stays() -> None:
    runs = [run(day) for day in range(1, 4)]
    versions = [version(day, ReleaseState.REJECTED) for day in range(1, 4)]
    gone = [one.run_id for one in removals(NONE, runs, versions)]
    assert gone
    left = [one.run_id for one in removals(NONE, runs, versions, {gone[0]})]
    assert left == gone[1:]


NOW = datetime(2026, 11, 1, tzinfo=UTC)
OLD, RECENT = NOW - timedelta(days=41), NOW - timedelta(days=39)
FORTY = RetentionPolicy(history_days=40)


def past(run_id: str, ended_at: datetime | None, inputs: str | None = None) -> PastRun:
    return PastRun(run_id=run_id, ended_at=ended_at, inputs=inputs)


def test_old_runs_of_dagster_are_forgotten_the_oldest_first() -> None:
    runs = [past("b", OLD), past("a", OLD - timedelta(days=1)), past("recent", RECENT), past("under way", None)]
    assert [run.run_id for run in forgettable(FORTY, runs, (), NOW)] == ["a", "b"]
    assert forgettable(RetentionPolicy(), runs, (), NOW) == []


def test_a_run_that_came_to_a_version_is_not_forgotten() -> None:
    assert [run.run_id for run in forgettable(FORTY, [past("a", OLD), past("b", OLD)], {"a"}, NOW)] == ["b"]


@pytest.mark.parametrize("ended", [RECENT, None], ids=["recent", "under way"])
def test_the_tries_for_one_input_go_together_for_they_are_counted(ended: datetime | None) -> None:
    """The next try would get the number of one that is there, and Dagster would drop its request."""
    runs = [past("first", OLD, "x"), past("second", ended, "x"), past("other", OLD, "y")]
    assert [run.run_id for run in forgettable(FORTY, runs, (), NOW)] == ["other"]
    assert [run.run_id for run in forgettable(FORTY, [runs[0], past("kept", OLD, "x")], {"kept"}, NOW)] == []
