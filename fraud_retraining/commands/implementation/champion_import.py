"""An existing production model as the first champion: read, checked, uploaded, judged, approved.

Here: the order of these steps. Not here: the file (`adapters/mlflow/foreign_models.py`), what it holds
(`domain/training/imported.py`), the run that judges and registers it (`pipeline.py`), which is that of a retrain, and
the decision (`release_decisions.py`).

    read the file -> check its columns -> ingest -> score recent rows -> record the claim -> upload -> judge -> approve
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import ValidationError
from rich.console import Console

from fraud_retraining.adapters.days.window_rows import ASSET, TABLE
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.mlflow.foreign_models import read_foreign
from fraud_retraining.commands.implementation.job_runner import CHANNEL
from fraud_retraining.commands.implementation.pipeline import Pipeline, Retrained
from fraud_retraining.commands.implementation.release_decisions import Decisions
from fraud_retraining.commands.implementation.retrain_output import print_retrain, retrain_answer
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import Identity
from fraud_retraining.domain.training.fingerprint import IMPORT_TRIGGER, Fingerprint
from fraud_retraining.domain.training.imported import (
    ColumnMap,
    ForeignModel,
    import_fingerprint,
    imported_model,
    proven,
    require_unseen_holdout,
)
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import WindowDays
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import Conflict, DataInvalid, SettingsError
from fraud_retraining.orchestration.names import IMPORTED_TAG
from fraud_retraining.orchestration.resources import open_registry
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.state.readiness import days_of_window
from fraud_retraining.services.recorded_versions import recorded_champion, recorded_digests
from fraud_retraining.settings import Settings

RECENT_DAYS, RECENT_ROWS, EXAMPLE_ROWS = 3, 50_000, 20
"""Days whose rows the model has to score before it is uploaded, the most rows of them, and those of its example."""


@dataclass(frozen=True)
class Claim:
    """What is imported, and what is said of it."""

    source: str
    format: str | None
    columns: Path | None
    trained_through: date
    reason: str
    sha256: str | None = None
    """SHA-256 of the file that is meant; None where none was named."""


@dataclass(frozen=True)
class Imported:
    """The result of an import; `retrained` is None where the model was champion already."""

    foreign: ForeignModel
    model: FittedModel
    unread: tuple[str, ...]
    release: Release | None
    retrained: Retrained | None


class ChampionImport:
    """The import of one set of settings, in the name of one reviewer."""

    def __init__(self, settings: Settings, progress: Progress, decisions: Decisions, *, verbose: bool = False) -> None:
        self._settings = settings
        self._decisions = decisions
        self._pipeline = Pipeline(settings, progress, verbose=verbose)
        self._ledger = self._pipeline.ledger
        self._registry = open_registry(settings)

    def run(self, claim: Claim, as_of: date | None) -> Imported:
        """Import a model, and approve it in the reviewer's name if it passes the gates.

        Raises:
            SettingsError: the file, its format, its digest or the claim cannot be used.
            DataInvalid: the model reads other columns, or does not score recent rows.
            Conflict: another model is champion.
            NotPermitted: who imports it is no reviewer, or may not approve it alone; then it waits for another one.
        """
        foreign = read_foreign(claim.source, claim.format, self._registry.tracking_uri, claim.sha256)
        plan = self._settings.feature_plan
        model = imported_model(foreign, _column_map(claim.columns), plan.names, plan.categorical)
        unread = tuple(name for name in self._settings.learnt_features if name not in model.features)
        if (champion := self._champion_of(foreign)) is not None:
            return Imported(foreign, model, unread, champion, None)
        identity = self._decisions.admitted("import")
        if as_of is not None:
            require_unseen_holdout(days_of_window(self._settings, as_of), claim.trained_through)
        done = self._pipeline.retrain(
            as_of, IMPORT_TRIGGER, claim.reason, lambda day: self._upload(foreign, model, claim, day, identity)
        )
        return Imported(foreign, model, unread, self._approved(done, foreign, claim), done)

    def _champion_of(self, foreign: ForeignModel) -> Release | None:
        """The champion, if it is this very file.

        Raises:
            Conflict: it is another model.
        """
        recorded_champion(self._registry, self._ledger)
        champion = self._ledger.champion()
        if champion is None:
            return None
        event = self._ledger.last(EventKind.MODEL_IMPORTED, fingerprint=champion.fingerprint)
        if event is not None and event.payload["determined_by"]["imported"]["sha256"] == foreign.digest:
            return champion
        raise Conflict(
            f"version {champion.version} as of {champion.as_of} is champion already",
            remedy="Only the first champion is imported; a later one is trained here and has to beat the one before. "
            "To begin anew beside it, name another model: model.name.",
        )

    def _upload(
        self, foreign: ForeignModel, model: FittedModel, claim: Claim, as_of: date, identity: Identity
    ) -> Mapping[str, str]:
        """Put the model into MLflow and the claim into the ledger; the tag by which the run finds both."""
        days = days_of_window(self._settings, as_of)
        require_unseen_holdout(days, claim.trained_through)
        rows = self._recent_rows(model, days)
        model = proven(model, rows)
        determined_by = import_fingerprint(
            foreign,
            model,
            as_of=as_of,
            trained_through=claim.trained_through,
            label_delay_days=self._settings.labels.delay_days,
            features_policy=digest(self._settings.feature_plan),
            model_policy={"name": self._settings.model.name},
        )
        tags = {IMPORTED_TAG: determined_by.digest}
        if self._registry.find_run(determined_by.digest, recorded_digests(self._ledger, determined_by.digest)):
            return tags
        claimed = _recorded(claim, model, determined_by, rows)
        self._record(EventKind.MODEL_IMPORTED, determined_by, identity.name, claimed)
        run_id = self._registry.start_run(
            f"{as_of} {IMPORT_TRIGGER}", {"as_of": as_of.isoformat(), "trigger": IMPORT_TRIGGER}
        )
        self._registry.log_imported(
            run_id,
            model,
            determined_by,
            example=rows.slice(0, EXAMPLE_ROWS),
            on_built=lambda artifact: self._record(
                EventKind.ARTIFACT_BUILT, determined_by, identity.name, {"artifact_digest": artifact, "run_id": run_id}
            ),
        )
        self._registry.end_run(run_id, "FINISHED", "the imported model is complete")
        return tags

    def _recent_rows(self, model: FittedModel, days: WindowDays) -> pa.Table:
        """Rows of the last days of a window, as the model would score them."""
        store, recent = self._pipeline.store, days.needed[-RECENT_DAYS:]
        records = [record for _, record in sorted(store.partitions(ASSET, recent).items())]
        tables, left = [], RECENT_ROWS
        for path in store.paths(records, TABLE):
            table = pq.ParquetFile(path).read(columns=list(model.features)).slice(0, left)
            tables.append(table)
            left -= table.num_rows
        rows = pa.concat_tables(tables) if tables else None
        if rows is None or not rows.num_rows:
            raise DataInvalid(f"there are no transactions of {recent[0]} to {recent[-1]} that the model could score")
        return rows

    def _record(self, kind: EventKind, determined_by: Fingerprint, by: str, payload: Mapping[str, Any]) -> None:
        keys = EventKeys(as_of=determined_by.as_of, fingerprint=determined_by.digest)
        self._ledger.append(kind, actor=by, channel=CHANNEL, keys=keys, payload=payload)

    def _approved(self, done: Retrained, foreign: ForeignModel, claim: Claim) -> Release | None:
        """The release after the approval of who imported it; None where its gates did not pass.

        Raises:
            Conflict: another model became champion meanwhile.
        """
        release = self._ledger.release_by_version(done.outcome.version) if done.outcome is not None else None
        if release is not None and release.state is ReleaseState.AWAITING_APPROVAL:
            # Two imports at once: the record refuses the second one too, should it come between.
            self._champion_of(foreign)
            return self._decisions.approve(release.version, claim.reason)
        return release


def _column_map(file: Path | None) -> ColumnMap:
    if file is None:
        return ColumnMap()
    try:
        return ColumnMap.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{file} cannot be read as YAML", culprits=[str(error)[:300]]) from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise SettingsError(
            f"{file} is no map of columns", culprits=problems, remedy="It has the keys `columns` and `names`."
        ) from None


def _recorded(claim: Claim, model: FittedModel, determined_by: Fingerprint, rows: pa.Table) -> dict[str, Any]:
    scores = model.predict(rows)
    return {
        "determined_by": determined_by.model_dump(mode="json"),
        "source": claim.source,
        "sha256_named": claim.sha256,
        "reason": claim.reason,
        "claims": {"trained_through": claim.trained_through},
        "scored": {
            "rows": rows.num_rows,
            "least": float(scores.min()),
            "mean": float(scores.mean()),
            "greatest": float(scores.max()),
        },
    }


def import_answer(done: Imported) -> dict[str, Any]:
    """The JSON object of one import: that of a retrain, with the state of the release and the file."""
    release = done.release
    answer = retrain_answer(done.retrained) if done.retrained is not None else {}
    return {
        **answer,
        "status": release.state.value if release is not None else answer["status"],
        "model_version": release.version if release is not None else None,
        "as_of": release.as_of if release is not None else answer["as_of"],
        "fingerprint": release.fingerprint if release is not None else answer["fingerprint"],
        "imported": {
            "format": done.foreign.format,
            "sha256": done.foreign.digest,
            "features": list(done.model.features),
            "features_not_read": list(done.unread),
            "already": done.retrained is None,
        },
    }


def print_import(done: Imported, out: Console) -> None:
    """Print one import: what the model reads, how it was judged, and what became of it."""
    out.print(
        f"{done.foreign.format} model {done.foreign.digest[:12]}, reads {len(done.model.features)} features"
        f"{f'; not read: {len(done.unread)}' if done.unread else ''}",
        highlight=False,
    )
    if done.retrained is not None:
        print_retrain(done.retrained, out)
    if done.release is not None:
        state = done.release.state.replace("_", " ")
        out.print(f"version {done.release.version} as of {done.release.as_of} is {state}", highlight=False)
