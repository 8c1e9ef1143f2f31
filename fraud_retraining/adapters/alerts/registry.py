"""Every destination of alerts. A new one is a class of its own and a line here and in `domain/alerts/routing.py`."""

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
