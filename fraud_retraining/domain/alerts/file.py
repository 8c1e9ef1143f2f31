"""Notices as lines of the file of alerts.

Here: a pure function from a notice to a line. Not here: writing it (`adapters/alerts/file.py`).
"""

from fraud_retraining.domain.alerts.composer import Body, Composer
from fraud_retraining.domain.alerts.notices import FILE, Action, AlertPolicy, Notice
from fraud_retraining.domain.alerts.text import clean
from fraud_retraining.domain.values.redaction import redact

TEXT = 4000


class FileComposer(Composer):
    """The file that takes notices without another destination."""

    kind = FILE

    def is_on(self, policy: AlertPolicy) -> bool:
        """Always."""
        return True

    def addresses(self, notice: Notice, policy: AlertPolicy) -> tuple[str, ...]:
        """None of its own: routing uses it as the last resort."""
        return ()

    def opening(self, notice: Notice, policy: AlertPolicy) -> Body:
        """The line."""
        return file_entry(notice)

    def resolving(self, notice: Notice, why: str, seen: int) -> tuple[tuple[Action, Body], ...]:
        """The line again, with the reason of its end."""
        return ((Action.RESOLVE, {**file_entry(notice), "resolved": why}),)

    def worded(self, body: Body, text: str) -> Body:
        """The line with the words in full."""
        return {**body, "text": redact(text)}


def file_entry(notice: Notice) -> Body:
    """Return the fields of a line of the file of alerts."""
    return {
        "severity": str(notice.severity),
        "category": notice.category,
        "title": clean(notice.title, TEXT),
        "why": [clean(line, TEXT) for line in notice.why],
        "serving": clean(notice.serving, TEXT),
        "todo": clean(notice.todo, TEXT),
        "links": [redact(link.url) for link in notice.links],
    }
