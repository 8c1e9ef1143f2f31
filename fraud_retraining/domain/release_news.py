"""News of releases as notices to people.

Here: to whom an event of a release goes, how urgently, and whether it is an alarm that stays until it is over or news
that is told once. Not here: which events there are, and in which words (`domain/release_notices.py`).
"""

from collections.abc import Mapping
from types import MappingProxyType

from fraud_retraining.domain.failures import Audience, Severity
from fraud_retraining.domain.notices import Link, LinkPolicy, Notice, Topic, runbook_link
from fraud_retraining.domain.release_notices import ReleaseNotice

SEVERITIES: Mapping[str, Severity] = MappingProxyType(
    {"info": Severity.INFO, "warning": Severity.MEDIUM, "critical": Severity.CRITICAL}
)
TOPICS: Mapping[str, Topic] = MappingProxyType(
    {
        "waiting": Topic.RELEASE_WAITING,
        "reminder": Topic.RELEASE_WAITING,
        "first_approval": Topic.RELEASE_WAITING,
        "rolled_back": Topic.ROLLED_BACK,
        "alias_moved": Topic.CHAMPION_MOVED,
        "artifact_damaged": Topic.CHAMPION_DAMAGED,
        "smoke_test_failed": Topic.SMOKE_TEST_FAILED,
        "promotion_paused": Topic.PROMOTION_PAUSED,
    }
)
"""What is not named here is the end of a release."""

ALARMS = frozenset({Topic.CHAMPION_DAMAGED, Topic.SMOKE_TEST_FAILED, Topic.PROMOTION_PAUSED})
"""Topics that stay open until an event of the record ends them; the others are told once."""


def is_alarm(notice: Notice) -> bool:
    """Whether it stays open until it is over."""
    return notice.category in ALARMS


def release_notice(told: ReleaseNotice, model: str, serving: str, links: LinkPolicy) -> Notice:
    """What people are told of an event of a release."""
    topic, severity = TOPICS.get(told.kind, Topic.RELEASE_ENDED), SEVERITIES[told.severity]
    pages = [Link(text="Releases", url=links.releases)] if links.releases else []
    return Notice(
        key=told.dedup_key,
        model=model,
        category=topic,
        severity=severity,
        audience=Audience.ONCALL if severity is Severity.CRITICAL else Audience.MODEL,
        title=told.title,
        facts=(("Model", model), *((("Version", str(told.version)),) if told.version is not None else ())),
        why=(told.text,) if told.text else (),
        serving=serving,
        todo=told.remedy,
        links=(*pages, runbook_link(topic, links)),
        row=told.seq,
    )
