"""Matured verdicts: the comparison of a release once more, when the labels that judged it are mature.

Here: the as-of asset `matured_verdict` of the group `monitoring`. Not here: what is due
(`orchestration/state/fresh_verdicts.py`), measuring and recording it (`services/matured_verdicts.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg

from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.domain.evaluation.matured import MaturedVerdict
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.orchestration.names import EVALUATION, FEATURES, LABELS, MATURED
from fraud_retraining.orchestration.partitions import looking_back
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.state.fresh_verdicts import due_verdicts
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.services.matured_verdicts import FreshVerdict, MaturedVerdicts
from fraud_retraining.settings import Settings

GROUP = "monitoring"


@dataclass(frozen=True)
class MaturedResources(Sources):
    """Resources of `matured_verdict`."""

    registry: Registry

    @property
    def verdicts(self) -> MaturedVerdicts:
        """What measures and records."""
        labels = self.settings.labels
        return MaturedVerdicts(
            self.ledger,
            self.registry,
            self.store,
            self.settings.gates,
            delay_days=labels.delay_days,
            feed=labels.uri is not None,
        )


def build_assets(partitions: dg.PartitionsDefinition, settings: Settings) -> list[dg.AssetsDefinition]:
    """The asset; none where verdicts rest on mature labels in the first place."""
    if not settings.judges_fresh:
        return []
    after = dg.TimeWindowPartitionMapping(
        start_offset=0, end_offset=settings.labels.delay_days, allow_nonexistent_upstream_partitions=True
    )

    @dg.asset(
        name=MATURED,
        group_name=GROUP,
        partitions_def=partitions,
        deps=[
            EVALUATION,
            dg.AssetDep(FEATURES, partition_mapping=looking_back(settings.holdout.longest - 1)),
            dg.AssetDep(LABELS, partition_mapping=after),
        ],
        output_required=False,
        required_resource_keys=MaturedResources.keys(),
        kinds={"mlflow"},
    )
    @retried
    def matured_verdict(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        """The comparison of a release with its champion again, with mature labels: confirmed, refuted or undecided."""
        resources, as_of = MaturedResources.of(context), date.fromisoformat(context.partition_key)
        due = due_verdicts(resources)
        made = [measure_again(fresh, resources.verdicts) for fresh in due.of(as_of)]
        if made:
            yield dg.MaterializeResult(metadata=_metadata(made), data_version=dg.DataVersion(digest(made)))
            return
        context.log.info(f"{MATURED} of {as_of} is not made: {due.summary}")
        context.log_event(
            dg.AssetObservation(
                context.asset_key, partition=as_of.isoformat(), metadata={"not made, because": due.summary}
            )
        )

    return [matured_verdict]


def measure_again(fresh: FreshVerdict, verdicts: MaturedVerdicts) -> MaturedVerdict:
    """Measures a fresh verdict again and records it."""
    found = verdicts.measure(fresh)
    verdicts.record(found, fresh.release)
    return found


def _metadata(made: Sequence[MaturedVerdict]) -> dict[str, Any]:
    last = made[-1]
    numbers = {"difference": last.now.difference.value} if last.now else {}
    outcomes = {f"version {one.version}": f"{one.outcome}: {one.summary}" for one in made}
    return {**numbers, **outcomes, "outcome": str(last.outcome)}
