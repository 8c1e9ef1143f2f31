"""Whatever people, clocks and crashes do to releases, in any order: one champion, no way back, an unbroken chain."""

import tempfile
from datetime import date, timedelta
from pathlib import Path
from shutil import rmtree

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.domain.errors import Conflict, GateFailed
from fraud_retraining.domain.releases import (
    TERMINAL,
    Await,
    Decision,
    Intent,
    Promote,
    Release,
    ReleaseState,
    Supersede,
    promotion_of,
    recovery,
)
from fraud_retraining_tests.adapters.ledgers import ANYBODY, person

S = ReleaseState
PEOPLE = st.sampled_from(["alice", "bob"])
DAYS = st.integers(0, 6)


class Releases(RuleBasedStateMachine):
    """The pipeline, its reviewers, a process that dies, and a human at the registry, against one ledger.

    `alias` plays the registry's alias; `intent` is what a dead process left behind.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.db")
        self.alias: int | None = None
        self.by_hand: set[int] = set()
        self.ended: dict[int, ReleaseState] = {}
        self.version = 0

    def teardown(self) -> None:
        rmtree(self.folder)

    def pick(self, data: st.DataObject, *states: ReleaseState) -> Release | None:
        found = self.ledger.releases(*states)
        return data.draw(st.sampled_from(found)) if found else None

    @initialize()
    def start(self) -> None:
        self.ledger.head()

    @rule(day=DAYS, passed=st.sampled_from([True, True, True, False]), mode=st.sampled_from(["manual", "auto"]))
    def retrain(self, day: int, passed: bool, mode: str) -> None:
        self.version += 1
        as_of = date(2026, 11, 1) + timedelta(days=day)
        release = self.ledger.open_release(
            self.version,
            f"f{self.version}",
            as_of,
            trigger="schedule",
            artifact_digest="d",
            verdict_passed=passed,
            actor="pipeline",
            channel="dagster",
        )
        by = {"actor": "pipeline", "channel": "dagster"}
        try:
            answer = promotion_of(release, self.ledger.champion(), automatic=mode == "auto", passed=passed)
        except GateFailed:
            self.ledger.move_release(self.version, S.GATE_FAILED, **by)
            return
        match answer:
            case Promote():
                self.ledger.move_release(self.version, S.APPROVED, **by)
            case Await():
                self.ledger.await_decision(self.version, hours=24, **by)
            case Supersede(reason):
                self.ledger.move_release(self.version, S.SUPERSEDED, reason=reason, **by)

    @rule(data=st.data(), decision=st.sampled_from(Decision), who=PEOPLE)
    def answer(self, data: st.DataObject, decision: Decision, who: str) -> None:
        release = self.pick(data)
        if release is None:
            return
        try:
            self.ledger.decide(
                release.version, decision, policy=ANYBODY, by=person(who), channel="cli", reason="because"
            )
            assert release.state is S.AWAITING_APPROVAL
        except Conflict:
            assert release.state is not S.AWAITING_APPROVAL

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        release = self.pick(data, S.REGISTERED, S.AWAITING_APPROVAL, S.APPROVED)
        if release is not None:
            self.ledger.move_release(
                release.version, S.WITHDRAWN, actor="bob", channel="cli", reason="bug in a feature"
            )

    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        assert self.ledger.expire_due(actor="policy", channel="sensor") == []

    @rule(data=st.data(), dies=st.sampled_from(["no", "before the alias", "after the alias"]), rollback=st.booleans())
    def promote(self, data: st.DataObject, dies: str, rollback: bool) -> None:
        wanted = (S.SUPERSEDED, S.ROLLED_BACK) if rollback else (S.APPROVED,)
        release = self.pick(data, *wanted)
        if release is None:
            return
        by = {"actor": "alice", "channel": "cli"}
        try:
            intent = self.ledger.intend_promotion(
                release.version, self.alias, reason="because", rollback=rollback, **by
            )
        except Conflict:
            return
        if dies != "before the alias":
            self.alias = release.version
        if dies == "no":
            self.ledger.finish_promotion(intent, recovery(intent, self.alias), **by)

    @precondition(lambda self: self.ledger.unfinished_intents())
    @rule()
    def recover(self) -> None:
        intents: list[Intent] = self.ledger.unfinished_intents()
        assert len(intents) == 1
        outcome = recovery(intents[0], self.alias)
        release = self.ledger.finish_promotion(intents[0], outcome, actor="recovery", channel="start-up")
        assert (release.state is S.PROMOTED) == (release.version == self.alias)

    @rule(data=st.data())
    def move_the_alias_by_hand(self, data: st.DataObject) -> None:
        self.alias = data.draw(st.sampled_from([None, 1000, *range(1, self.version + 1)]))
        if self.alias is not None:
            self.by_hand.add(self.alias)

    @precondition(lambda self: not self.ledger.unfinished_intents())
    @rule()
    def watch_the_alias(self) -> None:
        self.ledger.champion_moved(self.alias, actor="unknown", channel="registry")
        champion = self.ledger.champion()
        assert (champion.version if champion else None) == (self.alias if self.alias != 1000 else None)

    @invariant()
    def at_most_one_champion_and_one_promotion(self) -> None:
        assert len(self.ledger.releases(S.PROMOTED)) <= 1
        assert len(self.ledger.releases(S.PROMOTING)) == len(self.ledger.unfinished_intents()) <= 1
        assert len(self.ledger.waiting()) <= 1

    @invariant()
    def nothing_leaves_a_terminal_state_but_by_a_humans_hand_on_the_alias(self) -> None:
        now = {release.version: release.state for release in self.ledger.releases()}
        for version, state in self.ended.items():
            assert now[version] is state or version in self.by_hand
        self.ended = {version: state for version, state in now.items() if state in TERMINAL}

    @invariant()
    def who_is_champion_was_approved_or_put_there_by_hand(self) -> None:
        champion = self.ledger.champion()
        assert champion is None or champion.decided_by or champion.version in self.by_hand

    @invariant()
    def the_chain_verifies(self) -> None:
        verification = self.ledger.verify()
        assert verification.ok, verification.why


TestReleases = Releases.TestCase
TestReleases.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
