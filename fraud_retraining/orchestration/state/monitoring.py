"""State of the monitoring of a day: up to date, to be made from which inputs, or not possible and why.

Here: comparing stored monitoring with its present inputs, for the champion and some days. Not here: making it
(`orchestration/assets/monitoring.py`).

Four rules keep the numbers of scores valid:

- A day is scored once, by the champion of that time, even if a later one is promoted before the scores are made. A
  later champion does not score it again; when the day's rows are delivered again, the same version scores them.
- A model is never measured on a day that it was trained on.
- Scores of a day up to the as-of day of their model are not live, and no performance is computed from them.
- Performance is that of the service: of a week, by the scores that served it, of any version. Where labels are used as
  known, it is judged on them at the age of a holdout, and again when they are mature.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

from fraud_retraining.adapters.days.monitoring_reports import (
    DRIFT,
    FINGERPRINT,
    MISSED,
    PERFORMANCE,
    SCORED,
    SKEW,
    is_whole,
)
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.versions import ModelVersion
from fraud_retraining.adapters.online.served_days import ServedDays
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.model_store import UNTOLD, require_told
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining.domain.labels.reporting_delays import ReportingDelays
from fraud_retraining.domain.monitoring.drift import FraudDay
from fraud_retraining.domain.monitoring.live_performance import RECENT_DAYS
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.training.windows import FeatureDay
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.names import LABELS, ONLINE_STATE
from fraud_retraining.orchestration.state.inventory import DAY_ASSETS, REPLACED, Inventory, day_digests
from fraud_retraining.orchestration.state.label_days import delays_known_on
from fraud_retraining.services.recorded_versions import trained_days
from fraud_retraining.settings import Settings

LOG = logging.getLogger(__name__)
DAY = timedelta(days=1)
LABEL_RULES = {"delay_days", "fraud_values", "genuine_values"}
"""Settings of labels that live performance depends on."""
VERSION, HINDSIGHT = "version", "hindsight"
NO_ROWS = "no transaction of the day belongs to the segment of the model"
SERVED = "served"
"""The input of a served skew that is seen in a listing of the serving log."""


class Serving(Value):
    """The facts about a champion that monitoring needs."""

    version: int
    fingerprint: str
    as_of: date
    training: DayRange

    @classmethod
    def of(cls, version: ModelVersion) -> "Serving":
        """From a version of the registry."""
        return cls(
            version=version.version,
            fingerprint=version.fingerprint,
            as_of=version.as_of,
            training=version.trained_on,
        )

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"champion version {self.version} (as of {self.as_of})"


@dataclass(frozen=True)
class ServedBy:
    """The champion, and those that served before it, the latest first."""

    champion: Serving | None
    former: tuple[Serving, ...] = ()


@dataclass(frozen=True)
class NotMade:
    """Nothing to make for a day, with the reason; not an error."""

    reason: str


@dataclass(frozen=True)
class Make:
    """Monitoring of a day that is missing or out of date, with its inputs.

    `version` is the model of the scores; `recent` are the days that are measured together; `known_by` is the day at
    whose end the labels are known.
    """

    inputs: dict[str, str]
    version: int = 0
    recent: tuple[date, ...] = ()
    known_by: date | None = None
    delays: ReportingDelays | None = None


Plan = Partition | NotMade | Make


class MonitoringState:
    """The monitoring of some days under one champion, read once."""

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        store: Store,
        served_by: ServedBy,
        days: Iterable[date],
    ) -> None:
        self.settings = settings
        self.champion = served_by.champion
        self._former = served_by.former
        self.days = tuple(sorted(set(days)))
        self._lake = lake
        self._store = store
        self.served_days = ServedDays(store.own_location)
        self._delay = timedelta(days=settings.labels.delay_days)
        around = {day - timedelta(days=n) for day in self.days for n in range(RECENT_DAYS)}
        self._around = sorted(around)
        # A day, its week, and the day whose labels mature with it: all that its three reports read.
        self.inventory = Inventory(
            store, settings, {*around, *(day - self._delay for day in self.days)}, made=DAY_ASSETS
        )

    @cached_property
    def latest(self) -> date | None:
        """The last day that has arrived in the lake."""
        return max(self._lake.days(), default=None)

    @cached_property
    def scored(self) -> dict[date, Partition]:
        """The scores of the days and of the week before each, without those that are damaged."""
        return {day: record for day, (record, problem) in self._scores.items() if not problem}

    @cached_property
    def _scores(self) -> dict[date, tuple[Partition, str]]:
        """Records of scores with the problem of damaged ones, whose record still names the version."""
        found = {}
        for day, (record, problem) in self._store.standing(SCORED, self._around).items():
            if problem:
                LOG.warning("%s of %s is damaged and counts as not made: %s", SCORED, day, problem)
            if record is not None and record.facts.keys() >= {VERSION, FINGERPRINT, HINDSIGHT}:
                found[day] = record, problem
        return found

    def _scorer(self, day: date) -> Partition | None:
        """The record of a day's scores, also if they are damaged."""
        return self.scored.get(day) or self._scores.get(day, (None, ""))[0]

    def add_scores(self, record: Partition) -> None:
        """Adds scores that were made since."""
        self.scored[record.day] = record

    @property
    def metrics(self) -> MetricsPolicy:
        """The metrics of the gates; monitoring measures the same."""
        return MetricsPolicy(**self.settings.gates.model_dump(include=set(MetricsPolicy.model_fields)))

    def scores(self, day: date) -> Plan:
        """The scores of a day.

        Raises:
            DataInvalid: the day has not been ingested, its features are not those of its transactions, or the rows of
                the model cannot be told from it.
        """
        known, inputs = self.scored.get(day), {"transactions": self.facts(day)}
        require_told([self.inventory.transactions[day]])
        if known is not None and known.inputs == inputs:
            return known
        made_by = self._scorer(day)
        # The version that served the day scores it again: another one would replace scores that were served.
        if made_by is not None:
            return Make(inputs, version=made_by.facts[VERSION])
        serving = self._champion_of(day)
        if serving is None:
            return NotMade("there is no champion yet")
        # Scores on its own training days flatter a model, and would enter live performance later.
        if day in serving.training:
            return NotMade(f"{serving.name} has learnt from {day}")
        return Make(inputs, version=serving.version)

    def _champion_of(self, day: date) -> Serving | None:
        """The champion on a day: the last promoted of those with an earlier as-of day, else the present one."""
        made_before = (one for one in (self.champion, *self._former) if one is not None and one.as_of < day)
        # Days before every champion are scored by the present one, in hindsight, so that there is a history to look at.
        return next(made_before, self.champion)

    def facts(self, day: date) -> str:
        """Digest of a day's transactions without their labels: the input of scores.

        Raises:
            DataInvalid: the day has not been ingested.
        """
        if day not in self.inventory.transactions:
            raise DataInvalid(f"transactions of {day} have not been ingested", remedy=f"ingest {day} first.")
        return day_digests(self.inventory.transactions[day]).facts

    def features(self, day: date) -> Partition:
        """The features of a day, made from its transactions as they are.

        Raises:
            DataInvalid: they are missing or out of date, or the rows of the model cannot be told from the day.
        """
        self.facts(day)
        found = self.inventory.features.get(day)
        if found is None or found.inputs["transactions"] != self.inventory.transactions[day].digest:
            raise DataInvalid(
                f"transaction_features of {day} are missing or out of date",
                remedy=f"materialize transaction_features of {day}; the job `ingest` does.",
            )
        require_told([found])
        return found

    def features_to_compare(self) -> dict[date, Partition]:
        """The features of those days of the run whose drift is to be measured; days that are refused are left out."""
        found = {}
        for day in self.days:
            try:
                if isinstance(self.drift(day), Make):
                    found[day] = self.features(day)
            except DataInvalid:
                continue
        return found

    def drift(self, day: date) -> Plan:
        """The drift report of a day.

        Raises:
            DataInvalid: the day has not been ingested, or its features are not those of its transactions.
        """
        champion = self.champion
        if champion is None:
            return NotMade("there is no champion yet")
        # Also days before the training window: the window is the reference, and drift looks forward from it.
        if day <= champion.training.end:
            return NotMade(f"{champion.name} has learnt from days up to {champion.training.end}")
        if self._is_empty(day):
            return NotMade(NO_ROWS)
        return self._stands(DRIFT, day, Make(self._drift_inputs(day, champion)))

    def _is_empty(self, day: date) -> bool:
        """Whether no transaction of a day belongs to the model: a day of all models has some."""
        return not self.features(day).facts["rows"]

    def _drift_inputs(self, day: date, champion: Serving) -> dict[str, str]:
        scored = self.own_scores(day)
        # Labels of the day itself are no input of drift: without this, each late label would make the report anew.
        features = {**self.features(day).inputs, "transactions": self.facts(day)}
        return {
            FINGERPRINT: champion.fingerprint,
            "features": digest(features),
            "policy": digest([self.settings.drift, self.settings.drift_threshold, self.settings.feature_plan]),
            "scores": scored.digest if scored else "",
            "labels": digest(self.mature_labels(day)),
        }

    def own_scores(self, day: date) -> Partition | None:
        """The scores of a day if it is the champion that made them."""
        found = self.scored.get(day)
        return found if found and self.champion and found.facts[FINGERPRINT] == self.champion.fingerprint else None

    def mature_labels(self, day: date) -> FraudDay | str:
        """Label counts of the day that becomes mature on `day`, or why they cannot be compared with the champion's."""
        mature = day - self._delay
        record = self.inventory.features.get(mature)
        if self.champion is not None and mature <= self.champion.training.end:
            return f"labels are mature up to {mature}, and the champion has learnt from days up to then"
        if record is None:
            return f"{mature}, the day that has become mature, has no features in the store"
        if UNTOLD in record.facts:
            return f"the rows of the model cannot be told from {mature}, the day that has become mature"
        if self.settings.labels.uri is not None:
            # Labels that came later are left out: the report of a day is the same whenever it is made.
            known = [one for one in self.label_days([mature]) if one.day <= day]
            reviewed = _labels_of(mature, "reviewed", known)
            frauds = sum(n for _, n in (*_labels_of(mature, "by_day", known), *reviewed))
            rows = record.facts.get("seen", record.facts["rows"]) + sum(rows for rows, _ in reviewed)
            return FraudDay(day=mature, rows=rows, frauds=frauds)
        rows, frauds = FeatureDay(
            digest=record.digest,
            features_digest=record.digest,
            label_days=record.facts["label_days"],
            reviewed_days=record.facts.get("reviewed_days", ()),
        ).known(day)
        return FraudDay(day=mature, rows=rows, frauds=frauds)

    def label_days(self, days: Sequence[date]) -> list[Partition]:
        """Label days of the feed on which labels of `days` became known before the last of them was mature."""
        known_on = DayRange(start=min(days), end=max(days) + self._delay)
        return [record for day, record in self._label_records.items() if day in known_on]

    @cached_property
    def _label_records(self) -> dict[date, Partition]:
        """Label days on which labels of any of the days, of their weeks, or of what matures with them became known."""
        first, last = self.days[0] - max(self._delay, timedelta(days=RECENT_DAYS)), self.days[-1] + self._delay
        return self._store.readable(LABELS, DayRange(start=first, end=last))

    def performance(self, day: date) -> Plan:
        """The live performance of a day.

        Raises:
            DataInvalid: the day has not been ingested, or its scores are not those of its transactions.
        """
        scored = self._served(day)
        if isinstance(scored, NotMade):
            return scored
        known_by = self._judged_by(day)
        if known_by is None:
            first = day + self.settings.judged_at_age
            what = "are not mature" if first == day + self._delay else "are not judged"
            return NotMade(f"the labels of {day} {what} until {first} has arrived (now: {self.latest})")
        self._require_own_scores(scored)
        if self._is_empty(day):
            return NotMade(NO_ROWS)
        recent = self._served_week(scored.day)
        if known_by == day + self._delay:
            return self._stands(PERFORMANCE, day, Make(self._performance_inputs(recent), recent=recent))
        return self._performance_as_known(day, known_by, recent)

    def _performance_as_known(self, day: date, known_by: date, recent: tuple[date, ...]) -> Plan:
        """Performance on labels as known at the end of a day, with the reporting delays that were known then."""
        labels = {one.day.isoformat(): one.digest for one in self.label_days(recent) if one.day <= known_by}
        inputs = {**self._performance_inputs(recent), "labels": digest(labels), "known_by": known_by.isoformat()}
        stands = self._stands(PERFORMANCE, day, Make(inputs))
        if not isinstance(stands, Make):
            return stands
        delays = delays_known_on(self._store, self.settings.labels, known_by)
        if delays is None:
            return NotMade(
                f"the reporting delay of frauds cannot be estimated as of {known_by}: {day} is judged with mature "
                "labels"
            )
        return Make(inputs, recent=recent, known_by=known_by, delays=delays)

    def _judged_by(self, day: date) -> date | None:
        """The day whose knowledge of labels a day is judged with now; None while it is too young."""
        latest = self.latest
        if latest is None or latest < day + self.settings.judged_at_age:
            return None
        return day + (self._delay if latest >= day + self._delay else self.settings.judged_at_age)

    def missed(self, day: date) -> Plan:
        """The known frauds of a day that no alert was about; made again with each day on which labels arrive.

        Raises:
            DataInvalid: the day has not been ingested, or its scores are not those of its transactions.
        """
        scored = self._served(day)
        if isinstance(scored, NotMade):
            return scored
        if self.latest is None or self.latest < day:
            return NotMade(f"no label of {day} can be known: the lake ends on {self.latest}")
        self._require_own_scores(scored)
        if self._is_empty(day):
            return NotMade(NO_ROWS)
        known_by = min(self.latest, day + self._delay)
        return self._stands(MISSED, day, Make(self._missed_inputs(scored, known_by), known_by=known_by))

    def _missed_inputs(self, scored: Partition, known_by: date) -> dict[str, str]:
        labels: object = day_digests(self.inventory.transactions[scored.day]).labels
        if self.settings.labels.uri is not None:
            labels = [one.digest for one in self.label_days([scored.day]) if one.day <= known_by]
        alerts = [self.metrics.alert_budget, self.metrics.alert_entity]
        return {
            "scores": digest([scored.digest, scored.facts[FINGERPRINT]]),
            "labels": digest(labels),
            "known_by": known_by.isoformat(),
            "policy": digest([alerts, self.settings.labels.model_dump(include=LABEL_RULES)]),
        }

    def _served(self, day: date) -> Partition | NotMade:
        """The scores of a day that a version served."""
        scored = self.scored.get(day)
        if scored is None:
            return NotMade(f"no champion has scored {day}")
        if scored.facts[HINDSIGHT]:
            return NotMade(f"version {scored.facts[VERSION]}, which scored {day}, was made after it: it did not serve")
        return scored

    def _require_own_scores(self, scored: Partition) -> None:
        if scored.inputs["transactions"] != self.facts(scored.day):
            raise DataInvalid(
                f"the scores of {scored.day} are not those of its transactions as they are now",
                remedy=f"materialize scored_transactions of {scored.day} again.",
            )

    def _served_week(self, last: date) -> tuple[date, ...]:
        """The days of the week that ends with a day that were served, by whichever version."""
        week = DayRange(start=last - timedelta(days=RECENT_DAYS - 1), end=last)
        return tuple(
            day
            for day, record in sorted(self.scored.items())
            if day in week
            and not record.facts[HINDSIGHT]
            and record.facts.get("rows", 1)
            and day in self.inventory.transactions
            and record.inputs["transactions"] == self.facts(day)
        )

    def _performance_inputs(self, recent: Iterable[date]) -> dict[str, str]:
        days = sorted(recent)
        labels = {day.isoformat(): day_digests(self.inventory.transactions[day]).labels for day in days}
        if self.settings.labels.uri is not None:
            labels = {one.day.isoformat(): one.digest for one in self.label_days(days)}
        scores = {day.isoformat(): [self.scored[day].digest, self.scored[day].facts[FINGERPRINT]] for day in days}
        return {
            "scores": digest(scores),
            "labels": digest(labels),
            "policy": digest([self.metrics.model_dump(), self.settings.labels.model_dump(include=LABEL_RULES)]),
        }

    def skew(self, day: date) -> Plan:
        """What the answers of a day rested on, beside the batch's features.

        Raises:
            DataInvalid: the day has not been ingested, or its features are not those of its transactions.
        """
        if day not in self._logged:
            return NotMade(f"no transaction of {day} was scored live")
        features = self.features(day)
        if features.inputs["plan"] != self.inventory.plan_digest:
            return NotMade(f"transaction_features of {day} were made with other settings of features")
        inputs = {**self._skew_inputs(day), SERVED: self.served_days.version(day)}
        return self._stands(SKEW, day, Make(inputs))

    @cached_property
    def has_serving_log(self) -> bool:
        """Whether transactions of any of the days were scored live."""
        return bool(self._logged)

    def was_served(self, day: date) -> bool:
        """Whether the store has answers about transactions of a day."""
        return day in self._logged

    @cached_property
    def _logged(self) -> set[date]:
        """Days whose transactions were scored live."""
        return self.served_days.days(self.days)

    @cached_property
    def _skews(self) -> dict[date, Partition]:
        return self._store.readable(SKEW, self._logged)

    @cached_property
    def _states(self) -> dict[date, Partition]:
        """The online state that each day's transactions are scored with, by its own day."""
        return self._store.readable(ONLINE_STATE, [day - DAY for day in self._logged])

    def state_changed(self, day: date) -> bool:
        """Whether the state for a day's transactions is another one than scorers may have loaded.

        It was made again, or the features of the day were made of something else since.
        """
        state, features = self._states.get(day - DAY), self.features(day)
        if state is None:
            return False
        return bool(state.facts.get(REPLACED)) or any(
            features.inputs.get(name) != made_of for name, made_of in state.inputs.items()
        )

    def _skew_inputs(self, day: date) -> dict[str, str]:
        """Inputs of a served skew but for the answers.

        Answers that come late are taken in once, when the next day has arrived: a report would else be made again for
        each of them.
        """
        features, state = self.features(day), self._states.get(day - DAY)
        before = self.inventory.transactions.get(day - DAY)
        return {
            "features": digest([features.digest, features.inputs]),
            "state": digest([state.inputs, state.facts.get(REPLACED)]) if state else "",
            "day_before": day_digests(before).facts if before else "",
            "next_day": "arrived" if self.latest is not None and self.latest > day else "",
        }

    def _skew_is_due(self, day: date) -> bool:
        """Whether a served skew has to be made; found without a listing of the day's answers."""
        if day not in self._logged:
            return False
        known = self._skews.get(day)
        if known is None or not is_whole(known):
            return isinstance(self.skew(day), Make)
        return {**self._skew_inputs(day), SERVED: known.inputs.get(SERVED, "")} != known.inputs

    def _stands(self, asset: str, day: date, wanted: Make) -> Plan:
        known = self._store.readable(asset, [day]).get(day)
        return known if known is not None and known.inputs == wanted.inputs and is_whole(known) else wanted

    def due(self) -> dict[date, tuple[str, ...]]:
        """Days with monitoring to be made, oldest first, and its assets; days that are not ingested are left out."""
        found: dict[date, tuple[str, ...]] = {}
        for day in self.days:
            if day in self.inventory.transactions and self._featured(day):
                if UNTOLD in self.inventory.transactions[day].facts:
                    # The run says why: as a failure of the model it is recorded, and alerted once.
                    found[day] = (SCORED,)
                    continue
                wanted = {
                    SCORED: isinstance(self.scores(day), Make),
                    DRIFT: isinstance(self.drift(day), Make),
                    PERFORMANCE: self._performance_is_due(day),
                    MISSED: self.settings.watches_missed_frauds and self._missed_is_due(day),
                    SKEW: self._skew_is_due(day),
                }
                found[day] = tuple(asset for asset, is_due in wanted.items() if is_due)
        return {day: assets for day, assets in found.items() if assets}

    def _performance_is_due(self, day: date) -> bool:
        """Whether performance has to be made, also if its scores have to be made first."""
        if not isinstance(self.scores(day), Make):
            return isinstance(self.performance(day), Make)
        return self._will_have_served(day) and self._judged_by(day) is not None

    def _missed_is_due(self, day: date) -> bool:
        """Whether missed frauds have to be counted, also if the day has to be scored first."""
        if not isinstance(self.scores(day), Make):
            return isinstance(self.missed(day), Make)
        return self._will_have_served(day)

    def _will_have_served(self, day: date) -> bool:
        """Whether scores of a day, which have to be made, are of a version that served it."""
        known, champion = self._scorer(day), self._champion_of(day)
        return not known.facts[HINDSIGHT] if known else champion is not None and champion.as_of < day

    def _featured(self, day: date) -> bool:
        record = self.inventory.features.get(day)
        return record is not None and record.inputs["transactions"] == self.inventory.transactions[day].digest


def serving(ledger: Ledger) -> Serving | None:
    """The champion as the ledger has it, without a call to MLflow; None while there is none.

    Raises:
        DataInvalid: the ledger has no training days of it.
    """
    release = ledger.champion()
    if release is None:
        return None
    found = recorded_serving(release, ledger)
    if found is None:
        raise no_profile(f"champion version {release.version}")
    return found


def former_champions(ledger: Ledger, first: date) -> Iterator[Serving]:
    """Champions before the present one, the latest first, back to the first with an as-of day before `first`.

    A champion without training days in the ledger is left out.
    """
    for release in ledger.latest_champions():
        found = recorded_serving(release, ledger)
        if found is not None:
            yield found
            if found.as_of < first:
                return


def recorded_serving(release: Release, ledger: Ledger) -> Serving | None:
    """What the ledger knows of a version that served; None where its training days are not there."""
    training = trained_days(ledger, release.fingerprint)
    if training is None:
        return None
    return Serving(
        version=release.version,
        fingerprint=release.fingerprint,
        as_of=release.as_of,
        training=training,
    )


def no_profile(name: str) -> DataInvalid:
    """The error for a champion without a reference profile."""
    return DataInvalid(
        f"{name} has no reference profile, so no day can be held against it",
        remedy="promote a model that this version of the project has trained: its window leaves one behind.",
    )


def _labels_of(day: date, fact: str, known: Sequence[Partition]) -> list[tuple[int, int]]:
    """Labels and frauds of a day's transactions by label day."""
    return [(labels, n) for one in known for of, labels, n in one.facts.get(fact, ()) if of == day.isoformat()]
