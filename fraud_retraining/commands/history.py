"""One version's life as the ledger has it.

Here: gathering. Not here: how it is shown (`commands/answers.py`).
"""

from pydantic import Field

from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.domain.candidate import Evaluation
from fraud_retraining.domain.errors import Conflict
from fraud_retraining.domain.events import Event, EventKind
from fraud_retraining.domain.releases import Release
from fraud_retraining.domain.reproducibility import Reproducibility
from fraud_retraining.domain.schemas import Policy
from fraud_retraining.domain.windows import TrainingWindow
from fraud_retraining.orchestration.reproducibility import recorded_reproducibility
from fraud_retraining.orchestration.resources import open_ledger
from fraud_retraining.settings import Settings


class History(Policy):
    """What trained a version, how it was judged, and who moved it."""

    release: Release
    window: TrainingWindow | None
    evaluation: Evaluation | None
    not_reproducible_because: str = Field("", description="Days that were rewritten since it was trained, in words.")
    events: tuple[Event, ...]


def read_history(settings: Settings, version: int) -> History:
    """The life of a version.

    Raises:
        Conflict: the ledger knows no such version.
    """
    ledger = open_ledger(settings)
    release = ledger.release_by_version(version)
    if release is None:
        raise Conflict(f"the ledger knows no version {version}", remedy="`audit list` shows what it knows.")
    judged = ledger.last(EventKind.MODEL_EVALUATED, fingerprint=release.fingerprint)
    return History(
        release=release,
        window=_window(ledger, release),
        evaluation=Evaluation.model_validate(judged.payload) if judged else None,
        not_reproducible_because=(recorded_reproducibility(ledger, version) or Reproducibility()).reason,
        events=tuple(sorted(ledger.events(fingerprint=release.fingerprint), key=lambda event: event.seq)),
    )


def _window(ledger: Ledger, release: Release) -> TrainingWindow | None:
    """The window that the version was trained on: the last one built before it was trained."""
    trained = ledger.last(EventKind.MODEL_TRAINED, fingerprint=release.fingerprint)
    built = [
        event
        for event in ledger.events(EventKind.WINDOW_BUILT, as_of=release.as_of)
        if trained is None or event.seq < trained.seq
    ]
    return TrainingWindow.model_validate(built[-1].payload) if built else None
