"""PagerDuty's Events v2. No retries are left to the client: they would sleep in a sensor, and without end."""

from typing import Any

from fraud_retraining.adapters.alerts.destination import (
    TIMEOUT_SECONDS,
    Destination,
    Receipt,
    SendingMeans,
    Undelivered,
    require_form,
    retry_after,
)
from fraud_retraining.adapters.alerts.records import Delivery
from fraud_retraining.domain.alerts.notices import Action, AlertPolicy
from fraud_retraining.domain.alerts.pagerduty import PagerDutyComposer

PAGERDUTY_VARIABLE = "PAGERDUTY_ROUTING_KEY"


class PagerDutyDestination(PagerDutyComposer, Destination):
    """Incidents, each known by its key."""

    title = "PagerDuty"

    def variables(self, policy: AlertPolicy) -> tuple[str, ...]:
        """The routing key."""
        return (PAGERDUTY_VARIABLE,)

    def send(self, delivery: Delivery, means: SendingMeans) -> Receipt:
        """Triggers or resolves an incident."""
        from pagerduty import Error, EventsApiV2Client

        require_form(delivery.body, {"dedup_key": str}, {"payload": dict, "links": list})
        policy, routing_key = means.policy.pagerduty, means.secret(PAGERDUTY_VARIABLE)
        action = "resolve" if delivery.action is Action.RESOLVE else "trigger"
        client = EventsApiV2Client(routing_key, base_url=policy.api_url if policy else None)
        client.timeout, client.retry, client.max_network_attempts = TIMEOUT_SECONDS, {429: 1}, 0
        # Below 0: a "try again later" answer goes to the caller; the client would sleep on it.
        client.max_http_attempts = -1
        try:
            return {"dedup_key": client.send_event(action, **delivery.body)}
        except Error as error:
            raise _refusal(error, routing_key) from error
        finally:
            client.close()


def _refusal(error: Any, secret: str) -> Undelivered:
    response = error.response
    why = str(error.__cause__ or error).replace(secret, "***")
    if response is None:
        return Undelivered(f"PagerDuty did not answer: {why}")
    status = response.status_code
    problem = f"PagerDuty answered {status}: {why}"
    wait = retry_after(response.headers) if status == 429 else None
    return Undelivered(problem, wait=wait, hopeless=status == 400, blocked=status in (401, 403, 404))
