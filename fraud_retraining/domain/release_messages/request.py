"""The request for an approval: where the version stands in the registry, which command answers, and all of it as text.

Here: addresses, commands, and a request that can be sent as plain text. Not here: the request in Slack
(`domain/release_messages/slack_request.py`) and as a page (`adapters/pages/html.py`).
"""

import shlex
from collections.abc import Iterator
from urllib.parse import quote

from fraud_retraining.domain.alerts.notices import Link, LinkPolicy
from fraud_retraining.domain.audit.history import ReleaseHistory
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.review.first_screen import ReviewSummary, review_summary
from fraud_retraining.domain.review.report import ReviewReport

NAME_PLACEHOLDER = "YOUR-NAME"


def registry_address(release: Release, links: LinkPolicy) -> str | None:
    """The version's own page in MLflow; none where the settings do not say where MLflow is."""
    if links.mlflow is None:
        return None
    return f"{links.mlflow.rstrip('/')}/#/models/{quote(release.model, safe='')}/versions/{release.version}"


def page_address(release: Release, links: LinkPolicy) -> str | None:
    """The version's page of releases; none where the settings do not say where it is."""
    return f"{links.releases.rstrip('/')}/{release.version}" if links.releases else None


def request_links(release: Release, links: LinkPolicy) -> tuple[Link, ...]:
    """Return the pages to look at before a decision."""
    places = {"Page of the version": page_address(release, links), "Registry": registry_address(release, links)}
    return tuple(Link(text=name, url=address) for name, address in places.items() if address)


def approve_command(version: int, by: str = NAME_PLACEHOLDER) -> str:
    r"""Return the command that approves, ready for a shell.

    Examples:
        >>> approve_command(7, "Ada Smith")
        'fraud-retraining approve 7 --by \'Ada Smith\' --reason "..."'
    """
    return f'fraud-retraining approve {version} --by {shlex.quote(by)} --reason "..."'


def reject_command(version: int, by: str = NAME_PLACEHOLDER) -> str:
    """The command that rejects, ready for a shell."""
    return f'fraud-retraining reject {version} --by {shlex.quote(by)} --reason "..."'


def request_subject(release: Release) -> str:
    """The request in a line."""
    return f"{release.model}: version {release.version} as of {release.as_of} waits for a decision"


def request_text(history: ReleaseHistory, review_report: ReviewReport | None, links: LinkPolicy) -> str:
    """Return the whole request as plain text, as an e-mail carries it."""
    release, summary = history.release, review_summary(history, review_report)
    parts = [request_subject(release), *_request_lines(history)]
    if summary is not None:
        parts += _summed_up(summary)
    parts += ["", *_answers(release, links)]
    return "\n".join(parts) + "\n"


def _request_lines(history: ReleaseHistory) -> Iterator[str]:
    if history.asked is not None:
        yield f"Requested by {history.asked.summary}."
    if history.release.deadline is not None:
        yield f"To be decided before {history.release.deadline:%Y-%m-%d %H:%M} UTC; then the champion stays."


def _summed_up(summary: ReviewSummary) -> Iterator[str]:
    yield ""
    yield f"{summary.title}. {summary.sentence}"
    for one in summary.differences:
        beside = f", champion {one.champion}, difference {one.difference} ({one.interval})" if one.difference else ""
        yield f"  {one.name}: {one.candidate}{beside}"
    yield f"On {summary.rows}."
    yield f"{summary.gates}."
    yield from (f"  {line.result}: {line.name}: {line.message}" for line in summary.lines)
    yield summary.libraries


def _answers(release: Release, links: LinkPolicy) -> Iterator[str]:
    """Where to look, and what to type."""
    yield from (f"{link.text}: {link.url}" for link in request_links(release, links))
    yield f"Approve: {approve_command(release.version)}"
    yield f"Reject: {reject_command(release.version)}"
