"""The model card of every version where people look for it: in the registry's description, and as a page of the run.

Here: writing cards from the record, and noticing which ones the record has left behind. Not here: what a card says
(`domain/review/model_card.py`). A card is only a view: moving a release does not depend on it.
"""

from fraud_retraining.adapters.days.review_reports import read_review_report
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.tags import RELEASE_STATUS
from fraud_retraining.adapters.mlflow.versions import ModelVersion
from fraud_retraining.adapters.pages.html import card_html
from fraud_retraining.adapters.pages.review_pictures import ReviewPictures
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.audit.history import ReleaseHistory
from fraud_retraining.domain.review.model_card import card_markdown
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.services.release_history import read_release_history

PAGE = "model_card.html"
SHOWS = "card_shows_event"


class Cards:
    """The cards of one model's versions."""

    def __init__(self, ledger: Ledger, registry: Registry, store: Store) -> None:
        self._ledger = ledger
        self._registry = registry
        self._store = store
        self._pictures = ReviewPictures(store)

    def refresh(self, version: int) -> str:
        """Writes the card of a version as the record now has it; gives its Markdown.

        Raises:
            Conflict: the ledger knows no such version.
            DependencyUnreachable: MLflow cannot be written; the card stays as it was.
        """
        return self._refresh(self._registry.version(version))

    def refresh_stale(self) -> list[int]:
        """Writes every card that the record has left behind, by any channel; gives their versions."""
        shown = [(version, self._last_event(version.version)) for version in self._registry.versions()]
        stale = [version for version, seq in shown if seq is not None and version.tags.get(SHOWS) != str(seq)]
        for version in stale:
            self._refresh(version)
        return [version.version for version in stale]

    def _refresh(self, version: ModelVersion) -> str:
        seq = self._last_event(version.version)
        history = read_release_history(self._ledger, version.version)
        review_report = self._review_report(history)
        text = card_markdown(history, review_report)
        self._registry.log_page(
            version.run_id, PAGE, card_html(history, review_report, self._drawn(history, review_report))
        )
        self._registry.set_description(version.version, text)
        status = {RELEASE_STATUS: history.release.state.value}
        self._registry.log_numbers(version.run_id, tags=status)
        self._registry.set_version_tags(version.version, {**status, SHOWS: str(seq)})
        return text

    def _drawn(self, history: ReleaseHistory, review_report: ReviewReport | None) -> dict[str, bytes]:
        return self._pictures.of(history.evaluation, review_report) if review_report and history.evaluation else {}

    def _last_event(self, version: int) -> int | None:
        event = self._ledger.last(version=version)
        return event.seq if event is not None else None

    def _review_report(self, history: ReleaseHistory) -> ReviewReport | None:
        """The review report; a damaged one is left out of the card, which says that there is none."""
        if history.evaluation is None:
            return None
        try:
            return read_review_report(self._store, history.release.fingerprint, history.evaluation.review_digest)
        except IntegrityError:
            return None
