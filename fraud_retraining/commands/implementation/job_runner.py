"""One job of Dagster, run in this process against the shared instance, with its outcome recorded.

Not here: which runs are needed (`day_ingest.py`, `pipeline.py`), and what a job does (`orchestration/`).
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import cached_property

import dagster as dg

from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.retraining.requesters import COMMAND_LINE
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import INGEST, RETRAIN, model_key
from fraud_retraining.orchestration.runs.failed_runs import recorded_failure
from fraud_retraining.orchestration.runs.outcomes import EndedRun, Outcomes, family_days
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.resource_definitions import open_outcomes
from fraud_retraining.orchestration.tags import days_of_tags, trigger_of
from fraud_retraining.settings import Settings

CHANNEL = COMMAND_LINE
LOG = logging.getLogger("fraud_retraining.outcomes")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class JobRunner:
    """The jobs of one set of settings."""

    def __init__(self, settings: Settings, progress: Progress, *, verbose: bool = False) -> None:
        self._settings = settings
        self._progress = progress
        self._run_config = {} if verbose else QUIET
        self.days_in_errors: set[date] = set()
        """Days that the errors of runs so far are about."""

    @cached_property
    def outcomes(self) -> Outcomes:
        """Recording and notification of runs of the model that ended."""
        return open_outcomes(self._settings)

    @cached_property
    def outcomes_of_days(self) -> Outcomes:
        """The same of runs of days, which several models may share."""
        shared = self._settings.shared
        return open_outcomes(shared) if shared is not self._settings else self.outcomes

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        """The Dagster instance that the web server shows."""
        return open_instance()

    @cached_property
    def _definitions(self) -> dg.Definitions:
        return build_definitions(self._settings, progress=self._progress)

    @cached_property
    def _definitions_of_days(self) -> dg.Definitions:
        shared = self._settings.shared
        return build_definitions(shared, progress=self._progress) if shared is not self._settings else self._definitions

    def run(
        self,
        job: str,
        run_id: str,
        tags: dict[str, str],
        *,
        partition: date | None = None,
        assets: Sequence[str] | None = None,
    ) -> None:
        """Execute a job in this process.

        Raises:
            RetrainingError: as the assets raised it; `DataInvalid` or `GateFailed` where a blocking check failed.
        """
        of_days = job == INGEST
        outcomes = self.outcomes_of_days if of_days else self.outcomes
        definitions = self._definitions_of_days if of_days else self._definitions
        segment = "" if of_days else self._settings.segment
        ended = EndedRun(
            job="retrain" if job == RETRAIN else "ingest",
            run_id=run_id,
            as_of=partition,
            days=days_of_tags(tags),
            trigger=trigger_of(tags),
            channel=CHANNEL,
        )
        try:
            definitions.resolve_job_def(job).execute_in_process(
                run_config=self._run_config,
                instance=self.instance,
                partition_key=partition.isoformat() if partition else None,
                tags=tags,
                run_id=run_id,
                asset_selection=[model_key(name, segment) for name in assets] if assets else None,
            )
        except BaseException as error:
            known = outcomes.translated(ended, error)
            self.days_in_errors |= set(family_days(known))
            with logged(f"the failure of run {run_id} could not be recorded"):
                outcomes.failed(self._with_step(ended), known)
            # Dagster wraps what an asset raises; the caller gets the original, with its exit code.
            if known is error:
                raise
            raise known from error

    def _with_step(self, ended: EndedRun) -> EndedRun:
        """The run, with the step that failed."""
        run = self.instance.get_run_by_id(ended.run_id or "")
        step = recorded_failure(self.instance, run).step if run is not None else None
        return replace(ended, step=step)


@contextmanager
def logged(what: str) -> Iterator[None]:
    """Log a failure to record or to notify, which must not replace the failure that it is about."""
    try:
        yield
    except Exception:
        LOG.exception(what)
