"""Whatever people, clocks and crashes do to releases, in any order: one champion, no way back, an unbroken chain."""

import tempfile
from datetime import date, timedelta
from pathlib import Path
from shutil import rmtree

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.promotions import AliasMove
from fraud_retraining.adapters.ledger.releases import NewRelease
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.lifecycle import TERMINAL, Await, Promote, Supersede, promotion_of, recovery
from fraud_retraining.domain.releases.promotion_mode import POLICY
from fraud_retraining.domain.releases.release import Decision, Intent, Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import ReviewerPolicy
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.values.errors import Conflict, GateFailed, NotPermitted, RetrainingError
from fraud_retraining_tests.support.ledgers import person

S = ReleaseState
REVIEWERS = ("alice", "bob")
USERS = st.sampled_from([*REVIEWERS, "mallory"])
DAYS = st.integers(0, 6)
PIPELINE = {"actor": POLICY, "channel": "dagster"}


class Releases(RuleBasedStateMachine):
    """The pipeline, its reviewers, a stranger, a process that dies, and a human at the registry, against one ledger.

    `alias` plays the registry's alias, `used` are the links that worked, `paused` is what the last rollback left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.db")
        self.alias: int | None = None
        self.by_hand: set[int] = set()
        self.ended: dict[int, ReleaseState] = {}
        self.used: set[str] = set()
        self.paused = False
        self.version = 0

    def teardown(self) -> None:
        rmtree(self.folder)

    def pick(self, data: st.DataObject, *states: ReleaseState) -> Release | None:
        found = self.ledger.releases(*states)
        return data.draw(st.sampled_from(found)) if found else None

    @initialize(two_person=st.booleans())
    def start(self, two_person: bool) -> None:
        self.policy = ReviewerPolicy(reviewers=REVIEWERS, two_person=two_person)
        self.ledger.head()

    @rule(
        day=DAYS,
        passed=st.sampled_from([True, True, True, False]),
        automatic=st.booleans(),
        requester=st.sampled_from(["", "alice"]),
        hours=st.sampled_from([24, 24, 24, 1e-7]),
    )
    def retrain(self, day: int, passed: bool, automatic: bool, requester: str, hours: float) -> None:
        self.version += 1
        new = NewRelease(
            self.version,
            f"f{self.version}",
            date(2026, 11, 1) + timedelta(days=day),
            trigger="manual" if requester else "schedule",
            requested_by=requester,
            artifact_digest=f"d{self.version}",
            verdict_passed=passed,
        )
        release = self.ledger.open_release(new, **PIPELINE)
        try:
            answer = promotion_of(release, self.ledger.champion(), automatic=automatic, passed=passed)
        except GateFailed:
            self.ledger.move_release(self.version, S.GATE_FAILED, **PIPELINE)
            return
        match answer:
            case Promote():
                self.ledger.move_release(self.version, S.APPROVED, **PIPELINE)
            case Await():
                self.ledger.await_decision(self.version, hours=hours, **PIPELINE)
            case Supersede(reason):
                self.ledger.move_release(self.version, S.SUPERSEDED, reason=reason, **PIPELINE)

    @rule(
        data=st.data(),
        decision=st.sampled_from(Decision),
        who=USERS,
        nonce=st.sampled_from([None, None, "n1", "n2"]),
        right_digest=st.sampled_from([True, True, True, False]),
    )
    def answer(self, data: st.DataObject, decision: Decision, who: str, nonce: str | None, right_digest: bool) -> None:
        release = self.pick(data)
        if release is None:
            return
        wanted = self.expected(release, decision, who, nonce, right_digest)
        refused = len(list(self.ledger.events(EventKind.DECISION_REFUSED)))
        try:
            after = self.ledger.record_decision(
                release.version,
                ReviewerDecision(
                    decision,
                    person(who),
                    "cli",
                    reason="because",
                    expected_digest=release.artifact_digest if right_digest else "another",
                    nonce=nonce,
                ),
                self.policy,
            )
        except RetrainingError as refusal:
            assert wanted is type(refusal)
            assert self.ledger.release_by_version(release.version) == release, "a refusal changes nothing"
            assert len(list(self.ledger.events(EventKind.DECISION_REFUSED))) == refused + 1
            return
        assert after.state is wanted
        self.used |= {nonce} if nonce else set()

    def expected(
        self, release: Release, decision: Decision, who: str, nonce: str | None, right_digest: bool
    ) -> ReleaseState | type[RetrainingError]:
        """What the rules say, told in another way than the code does."""
        if nonce in self.used:
            return Conflict
        if who not in REVIEWERS or (decision is Decision.APPROVE and who == release.requested_by):
            return NotPermitted
        late = release.deadline is not None and release.deadline - release.moved_at < timedelta(hours=1)
        if release.state is not S.AWAITING_APPROVAL or not right_digest or late:
            return Conflict
        if decision is Decision.REJECT:
            return S.REJECTED
        if not self.policy.two_person or release.first_approval_by not in {None, who}:
            return S.APPROVED
        return S.AWAITING_APPROVAL if release.first_approval_by is None else Conflict

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        release = self.pick(data, S.REGISTERED, S.AWAITING_APPROVAL, S.APPROVED)
        if release is not None:
            self.ledger.move_release(
                release.version, S.WITHDRAWN, actor="bob", channel="cli", reason="bug in a feature"
            )

    @rule()
    def expire(self) -> None:
        late = [one for one in self.ledger.waiting() if one.deadline - one.moved_at < timedelta(hours=1)]
        expired = self.ledger.expire_due(actor="deadline", channel="watch")
        assert [one.version for one in expired] == [one.version for one in late]
        assert self.ledger.expire_due(actor="deadline", channel="watch") == []

    @rule(data=st.data(), dies=st.sampled_from(["no", "before the alias", "after the alias"]), rollback=st.booleans())
    def promote(self, data: st.DataObject, dies: str, rollback: bool) -> None:
        wanted = (S.SUPERSEDED, S.ROLLED_BACK) if rollback else (S.APPROVED,)
        release = self.pick(data, *wanted)
        if release is None:
            return
        by = {"actor": "alice", "channel": "cli"}
        try:
            intent = self.ledger.intend_promotion(
                AliasMove(release.version, self.alias, rollback=rollback), reason="because", **by
            )
        except Conflict:
            return
        if dies != "before the alias":
            self.alias = release.version
        if dies == "no":
            self.ledger.finish_promotion(intent, recovery(intent, self.alias), **by)
            self.paused |= rollback

    @precondition(lambda self: self.ledger.unfinished_intents())
    @rule()
    def recover(self) -> None:
        intents: list[Intent] = self.ledger.unfinished_intents()
        assert len(intents) == 1
        outcome = recovery(intents[0], self.alias)
        for _ in range(2):
            release = self.ledger.finish_promotion(intents[0], outcome, actor="recovery", channel="start-up")
            assert (release.state is S.PROMOTED) == (release.version == self.alias)
        self.paused |= intents[0].rollback and release.version == self.alias

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

    @precondition(lambda self: not self.ledger.unfinished_intents() and self.ledger.champion() is not None)
    @rule()
    def take_away_a_champion_that_cannot_serve(self) -> None:
        champion = self.ledger.champion()
        if champion.version == self.alias:
            self.alias = None
            self.ledger.clear_champion(actor="smoke test", channel="recovery", reason="it cannot be loaded")
            assert self.ledger.release_by_version(champion.version).state is S.ROLLED_BACK

    @rule()
    def resume(self) -> None:
        ended = self.ledger.resume(Automation.PROMOTION, actor="bob", channel="cli", reason="looked at it")
        assert (ended is not None) == self.paused
        self.paused = False

    @invariant()
    def a_rollback_pauses_until_somebody_resumes(self) -> None:
        assert (self.ledger.pause(Automation.PROMOTION) is not None) == self.paused

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
    def who_is_champion_was_approved_as_the_rules_ask_or_put_there_by_hand(self) -> None:
        champion = self.ledger.champion()
        if champion is None or champion.version in self.by_hand:
            return
        assert champion.verdict_passed
        if champion.decided_by != POLICY:
            assert champion.decided_by in REVIEWERS
            assert champion.decided_by != champion.requested_by
            assert not self.policy.two_person or champion.first_approval_by in set(REVIEWERS) - {champion.decided_by}

    @invariant()
    def the_chain_verifies(self) -> None:
        verification = self.ledger.verify()
        assert verification.ok, verification.why


TestReleases = Releases.TestCase
TestReleases.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
