"""Notices as events of PagerDuty (Events v2).

Here: pure functions from a notice to an event. Not here: sending (`adapters/alerts/pagerduty.py`).

Limits: https://developer.pagerduty.com/docs/send-alert-event
"""

from collections.abc import Mapping
from types import MappingProxyType

from fraud_retraining.domain.alerts.composer import Body, Composer
from fraud_retraining.domain.alerts.failures import Severity
from fraud_retraining.domain.alerts.notices import PAGERDUTY, Action, AlertPolicy, Notice, sentences
from fraud_retraining.domain.alerts.text import clean, dedup_key, web_url
from fraud_retraining.domain.values.redaction import redact

SUMMARY, DETAIL, DETAILS = 1024, 1000, 50

PAGERDUTY_SEVERITY: Mapping[Severity, str] = MappingProxyType(
    {
        Severity.INFO: "info",
        Severity.MEDIUM: "warning",
        Severity.HIGH: "error",
        Severity.CRITICAL: "critical",
    }
)


class PagerDutyComposer(Composer):
    """An incident for a critical notice, or for one that no other destination took in time."""

    kind = PAGERDUTY
    pages = True

    def is_on(self, policy: AlertPolicy) -> bool:
        """Whether the settings turn it on."""
        return policy.pagerduty is not None

    def addresses(self, notice: Notice, policy: AlertPolicy) -> tuple[str, ...]:
        """PagerDuty, when the notice is critical."""
        return (PAGERDUTY,) if notice.severity is Severity.CRITICAL else ()

    def opening(self, notice: Notice, policy: AlertPolicy) -> Body:
        """The event that triggers the incident."""
        return pagerduty_event(notice, policy.pagerduty.source if policy.pagerduty else "")

    def resolving(self, notice: Notice, why: str, seen: int) -> tuple[tuple[Action, Body], ...]:
        """The event that resolves it."""
        return ((Action.RESOLVE, {"dedup_key": dedup_key(notice)}),)


def pagerduty_event(notice: Notice, source: str) -> Body:
    """A trigger event without its routing key."""
    return {
        "dedup_key": dedup_key(notice),
        "payload": {
            "summary": clean(f"{notice.model}: {sentences(notice.title, *notice.why[:1])}", SUMMARY),
            "source": clean(source or notice.model, DETAIL),
            "severity": PAGERDUTY_SEVERITY[notice.severity],
            "component": clean(notice.model, DETAIL),
            "class": clean(notice.category, DETAIL),
            "custom_details": _details(notice),
        },
        "links": [
            {"href": redact(link.url), "text": clean(link.text, DETAIL)} for link in notice.links if web_url(link.url)
        ],
    }


def _details(notice: Notice) -> Body:
    why = [clean(line, DETAIL) for line in notice.why[:DETAILS]]
    more = len(notice.why) - len(why)
    details = {
        **{clean(name, 100): clean(value, DETAIL) for name, value in notice.facts[:DETAILS]},
        "Why": [*why, *([f"... and {more} more"] if more > 0 else [])],
        "Still serving": clean(notice.serving, DETAIL),
        "What to do": clean(notice.todo, DETAIL),
        "Runbook": next((link.url for link in notice.links if not web_url(link.url)), ""),
    }
    return {name: value for name, value in details.items() if value}
