"""State of the watches over promotions and of the waiting candidate: scores that they need, and looks that are due.

Here: comparing what is stored with what the watches read. Not here: scoring and comparing
(`orchestration/assets/promotion_watch.py`, `services/promotion_watches.py`).

A day is scored once by each version that a watch reads; what the service itself scored is not scored again. A look is
taken on the last day that has arrived, so that days that are caught up on cost one comparison and not many.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from fraud_retraining.adapters.days.monitoring_reports import SCORED, SHADOW, WATCH, is_whole
from fraud_retraining.adapters.days.window_rows import TABLE
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.monitoring.candidate_shadow import ShadowedCandidate
from fraud_retraining.domain.monitoring.promotion_watch import WatchedPromotion, needed_versions
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.names import LABELS, TRANSACTIONS
from fraud_retraining.orchestration.state.inventory import day_digests
from fraud_retraining.orchestration.state.monitoring import HINDSIGHT, LABEL_RULES, VERSION, MonitoringState, NotMade
from fraud_retraining.services.candidate_shadows import shadowed_candidate
from fraud_retraining.services.promotion_watches import first_watched, watched_promotions

PREFIX = "version_"
UNSCORED = "unscored"
"""The fact that says which versions could not score a day, and why."""


def table_of(version: int) -> str:
    """Name of the table of a version's scores."""
    return f"{PREFIX}{version}"


@dataclass(frozen=True)
class ShadowPlan:
    """Versions whose scores of a day are missing, and the partition whose scores stay."""

    inputs: dict[str, str]
    versions: tuple[int, ...]
    kept: Partition | None


@dataclass(frozen=True)
class ScoredBy:
    """Scores of a day by one version: the partition and its table."""

    partition: Partition
    table: str


@dataclass(frozen=True)
class DueLook:
    """A look to be taken: its days with their transactions and both scores; why scores of others are missing."""

    promotion: WatchedPromotion
    days: tuple[tuple[Partition, ScoredBy, ScoredBy], ...]
    missing: str
    ends: bool
    inputs: str


@dataclass(frozen=True)
class DueShadow:
    """The waiting candidate beside the champion: the days that both have scored, with their transactions and scores."""

    candidate: ShadowedCandidate
    days: tuple[tuple[Partition, ScoredBy, ScoredBy], ...]
    inputs: str


@dataclass(frozen=True)
class WatchPlan:
    """The looks of a day, the day at whose end the labels are known, and the waiting candidate where there is one."""

    inputs: dict[str, str]
    known_by: date
    looks: tuple[DueLook, ...]
    shadow: DueShadow | None


class WatchState:
    """The watches over promotions as some days see them, read once.

    Args:
        monitoring: the monitoring of the same days.
        store: where the days are.
        watched: promotions whose watch goes on.
        candidate: the candidate that waits for a reviewer.
    """

    def __init__(
        self,
        monitoring: MonitoringState,
        store: Store,
        watched: Iterable[WatchedPromotion],
        candidate: ShadowedCandidate | None,
    ) -> None:
        self._monitoring = monitoring
        self._store = store
        self._settings = monitoring.settings
        self._age = monitoring.settings.judged_at_age
        self.watched = tuple(watched)
        self._candidate = candidate
        latest = monitoring.latest
        self._fair = candidate.fair_days(latest) if candidate is not None and latest is not None else ()
        days = sorted({day for one in self.watched for day in one.days} | set(self._fair))
        self._transactions = store.readable(TRANSACTIONS, days)
        self._scored = store.readable(SCORED, days)
        self._shadows = store.readable(SHADOW, days)

    @classmethod
    def of(cls, monitoring: MonitoringState, store: Store, ledger: Ledger, days: Iterable[date]) -> "WatchState":
        """The watches that may go on on some days."""
        settings = monitoring.settings
        first = first_watched(min(days), settings.promotion.watch_days, settings.judged_at_age)
        watched = watched_promotions(ledger, settings.promotion.watch_days, first)
        return cls(monitoring, store, watched, shadowed_candidate(ledger))

    @property
    def any(self) -> bool:
        """Whether a promotion is watched, or a candidate waits."""
        return bool(self.watched) or self._candidate is not None

    def add_shadow(self, record: Partition) -> None:
        """Adds scores that were made since."""
        self._shadows[record.day] = record

    def due(self) -> dict[date, tuple[str, ...]]:
        """Days with scores or looks to be made, and these; days without features are left out."""
        found: dict[date, tuple[str, ...]] = {}
        for day in self._monitoring.days if self.any else ():
            try:
                wanted = {
                    SHADOW: isinstance(self.shadow(day), ShadowPlan),
                    WATCH: isinstance(self.looks(day), WatchPlan),
                }
            # Not ingested, or its features are out of date: the ingest comes first.
            except DataInvalid:
                continue
            found[day] = tuple(asset for asset, is_due in wanted.items() if is_due)
        return {day: assets for day, assets in found.items() if assets}

    def shadow(self, day: date) -> Partition | NotMade | ShadowPlan:
        """The scores of a day by versions that did not serve it.

        Raises:
            DataInvalid: the day has not been ingested, or its features are not those of its transactions.
        """
        needed = needed_versions(self.watched, day)
        if self._candidate is not None and day in self._fair:
            needed |= {self._candidate.version, self._candidate.champion_version}
        if not needed:
            return NotMade(f"no promotion is watched on {day}, and no candidate waits")
        inputs = {"transactions": self._monitoring.facts(day)}
        served = self._served(day, inputs)
        wanted = needed - {served.facts[VERSION]} if served else needed
        if not wanted:
            return NotMade(f"the scores of {day} that served are all that is read")
        known = self._shadows.get(day)
        kept = known if known is not None and known.inputs == inputs else None
        missing = wanted - _versions(kept)
        if kept is not None and not missing:
            return kept
        self._monitoring.features(day)
        return ShadowPlan(inputs, tuple(sorted(missing)), kept)

    def looks(self, day: date) -> Partition | NotMade | WatchPlan:
        """The looks of a day.

        Raises:
            DataInvalid: the day has not been ingested.
        """
        if self._monitoring.latest != day:
            return NotMade(f"looks are taken on the last day that has arrived, {self._monitoring.latest}")
        self._monitoring.facts(day)
        known_by, shadow = self._known_by(day), self._due_shadow()
        due = [one for one in self.watched if known_by is not None and one.is_due(known_by, self._age)]
        looks = [self._look(one, known_by) for one in due if known_by is not None]
        taken = tuple(look for look in looks if look.days or look.missing or look.ends)
        if not taken and shadow is None:
            return NotMade(f"no day with labels by {day} was scored by both versions of a promotion that is watched")
        inputs = {table_of(look.promotion.version): look.inputs for look in taken}
        inputs |= {table_of(shadow.candidate.version): shadow.inputs} if shadow else {}
        known = self._store.readable(WATCH, [day]).get(day)
        # A watch that has ended since is no reason to compare the others again.
        if known is not None and inputs.items() <= known.inputs.items() and is_whole(known):
            return known
        return WatchPlan(inputs, known_by or day, taken, shadow)

    def _due_shadow(self) -> DueShadow | None:
        """The days that candidate and champion have both scored; None without one."""
        one = self._candidate
        if one is None:
            return None
        days, _ = self._days_of_two(self._fair, (one.version, one.champion_version))
        budget = [self._settings.gates.alert_budget, self._settings.gates.alert_column]
        files = [[by.partition.files[by.table].digest for by in both] for _, *both in days]
        return DueShadow(one, days, digest([one.version, one.champion_version, files, budget])) if days else None

    def _known_by(self, day: date) -> date | None:
        """The last day up to one whose labels are in; with a feed its days may come later than the transactions."""
        if self._settings.labels.uri is None:
            return day
        reach = [day - timedelta(days=n) for n in range(self._settings.labels.delay_days + 1)]
        return max(self._store.readable(LABELS, reach), default=None)

    def _look(self, one: WatchedPromotion, known_by: date) -> DueLook:
        versions = one.version, one.predecessor_version
        days, missing = self._days_of_two(one.live_days(known_by - self._age), versions)
        missing = one.obstacle or missing
        return DueLook(one, days, missing, one.is_over(known_by, self._age), self._inputs(one, days, missing, known_by))

    def _days_of_two(
        self, days: Iterable[date], versions: tuple[int, int]
    ) -> tuple[tuple[tuple[Partition, ScoredBy, ScoredBy], ...], str]:
        """The days that both versions have scored, as their transactions are; and why one did not score another."""
        found, missing = [], ""
        for day in days:
            rows = self._transactions.get(day)
            if rows is None:
                continue
            inputs = {"transactions": day_digests(rows).facts}
            own, other = (self._scores(day, version, inputs) for version in versions)
            if isinstance(own, ScoredBy) and isinstance(other, ScoredBy):
                found.append((rows, own, other))
            missing = next((reason for reason in (own, other) if isinstance(reason, str) and reason), missing)
        return tuple(found), missing

    def _served(self, day: date, inputs: dict[str, str]) -> Partition | None:
        """The scores that the service gave a day, if they are those of its rows."""
        found = self._monitoring.scored.get(day) or self._scored.get(day)
        known = found is not None and found.inputs == inputs and not found.facts.get(HINDSIGHT, True)
        return found if known else None

    def _scores(self, day: date, version: int, inputs: dict[str, str]) -> ScoredBy | str:
        """Scores of a day by a version; else why it gave none, or nothing where it was not asked yet."""
        served, shadow = self._served(day, inputs), self._shadows.get(day)
        if served is not None and served.facts[VERSION] == version:
            return ScoredBy(served, TABLE)
        if shadow is None or shadow.inputs != inputs:
            return ""
        if table_of(version) in shadow.files:
            return ScoredBy(shadow, table_of(version))
        return str(shadow.facts[UNSCORED].get(str(version), ""))

    def _inputs(
        self,
        one: WatchedPromotion,
        days: tuple[tuple[Partition, ScoredBy, ScoredBy], ...],
        missing: str,
        known_by: date,
    ) -> str:
        rows = [row for row, _, _ in days]
        labels: object = [day_digests(row).labels for row in rows]
        if self._settings.labels.uri is not None and rows:
            reach = self._settings.labels.delay_days
            first, last = rows[0].day, min(known_by, rows[-1].day + timedelta(days=reach))
            span = [first + timedelta(days=n) for n in range((last - first).days + 1)]
            labels = [record.digest for record in self._store.readable(LABELS, span).values()]
        files = [[by.partition.files[by.table].digest for by in both] for _, *both in days]
        rules = [self._settings.gates, self._settings.labels.model_dump(include=LABEL_RULES)]
        return digest([one.version, one.predecessor_version, known_by.isoformat(), missing, files, labels, rules])


def _versions(kept: Partition | None) -> set[int]:
    """Versions of which a partition has scores, or the reason for none."""
    if kept is None:
        return set()
    named = {int(name.removeprefix(PREFIX)) for name in kept.files}
    return named | {int(version) for version in kept.facts[UNSCORED]}
