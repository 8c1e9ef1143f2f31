"""Every destination of alerts, as the outbox is drained to them.

A new one needs, besides its line here: its composer in `domain/alerts/` with a line in `domain/alerts/routing.py`, its
policy with a key in `AlertPolicy` (`domain/alerts/notices.py`) and in `retraining.yaml`, and its module beside this
one. CONTRIBUTING, "Add an alert destination", has the steps.
"""

from fraud_retraining.adapters.alerts.destination import Destination
from fraud_retraining.adapters.alerts.file import FileDestination
from fraud_retraining.adapters.alerts.mail import EmailDestination
from fraud_retraining.adapters.alerts.pagerduty import PagerDutyDestination
from fraud_retraining.adapters.alerts.slack import SlackDestination
from fraud_retraining.adapters.alerts.webhook import WebhookDestination

FALLBACK = FileDestination()
"""Takes the messages of destinations that cannot be reached."""
DESTINATIONS: tuple[Destination, ...] = (
    SlackDestination(),
    PagerDutyDestination(),
    EmailDestination(),
    WebhookDestination(),
)
