"""Pauses of what is automatic, and requests for a retrain, in the ledger.

Here: recording that something is paused, resumed, or requested. Not here: what a pause stops
(`domain/retraining/pauses.py`) and who may resume (`adapters/ledger/decisions.py`).
"""

from datetime import date
from typing import TYPE_CHECKING

from fraud_retraining.adapters.ledger.event_log import EventLog, sql
from fraud_retraining.adapters.ledger.leases import Leases
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.retraining.lease_rules import LeasePolicy
from fraud_retraining.domain.retraining.pauses import PAUSING, Automation, Pause, paused
from fraud_retraining.domain.retraining.requesters import Requester, request_of

if TYPE_CHECKING:
    from fraud_retraining.adapters.ledger.database import Transaction


class AutomationRecords(EventLog):
    """What is paused, and which runs were requested by whom."""

    def pause(self, subject: Automation) -> Pause | None:
        """The pause of something automatic that was not resumed yet."""
        return paused(self.events(PAUSING, subject=subject), subject)

    def resume(self, subject: Automation, *, actor: str, channel: str, reason: str) -> Pause | None:
        """End the pause of something automatic; None, and nothing recorded, where nothing is paused."""

        def work(tx: "Transaction") -> Pause | None:
            rows = sql().events(tx.connection, self._where(PAUSING, subject=subject))
            pause = paused(map(Event.of, rows), subject)
            if pause is not None:
                payload = {"reason": reason, "paused_since": pause.since, "paused_by": pause.by}
                self._event(tx, EventKind.AUTOMATION_RESUMED, payload, actor=actor, channel=channel, subject=subject)
            return pause

        return self._database.write(work)

    def retrain_lease(self, policy: LeasePolicy | None = None) -> Leases:
        """The lease that a retrain of this model holds."""
        return Leases(self._database, f"retrain {self.model}", policy)

    def record_retrain_request(
        self, run_id: str, as_of: date | None, *, decided: str | None, asker: Requester, trigger: str, reason: str
    ) -> Event:
        """Record who requested a run, once a run.

        `decided` is the decision of automation that the run claims to carry out, which one run may do. Without it, or
        if it was used, the run was requested by `asker`, with the trigger and reason that they gave.
        """

        def work(tx: "Transaction") -> Event:
            known = self._last(tx.connection, EventKind.RETRAIN_REQUESTED, {"subject": run_id})
            if known is not None:
                return known
            made, used = self._decision(tx, decided, as_of)
            request = request_of(made, used, as_of, asker, trigger, reason)
            payload = {**request.payload, "dagster_run_id": run_id}
            by = {"actor": request.actor, "channel": request.channel}
            return self._event(tx, EventKind.RETRAIN_REQUESTED, payload, **by, subject=run_id, as_of=as_of)

        return self._database.write(work)

    def _decision(self, tx: "Transaction", decided: str | None, as_of: date | None) -> tuple[Event | None, bool]:
        """A decision of automation, and whether a run has carried it out."""
        if not decided:
            return None, False
        found = self._last(tx.connection, EventKind.RETRAIN_DECIDED, {"subject": decided})
        rows = sql().events(tx.connection, self._where(EventKind.RETRAIN_REQUESTED, as_of=as_of))
        return found, any(event.payload.get("decided") == decided for event in map(Event.of, rows))
