"""The request for a decision in Slack, while it waits and once it is decided.

Here: pure functions from a version's history to Block Kit. Not here: escaping (`domain/alerts/slack_markup.py`),
notices in words (`domain/release_messages/announcements.py`), sending (`adapters/alerts/slack.py`) and the clicks
(`serving/slack_actions.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fraud_retraining.domain.alerts.notices import Link, LinkPolicy
from fraud_retraining.domain.alerts.slack_markup import (
    SECTION,
    Body,
    bullets,
    fields,
    header,
    marked_up,
    mrkdwn,
    secret_link,
    section,
    slack_link,
)
from fraud_retraining.domain.audit.history import ReleaseHistory, libraries_line
from fraud_retraining.domain.evaluation.alert_volume import AlertChange
from fraud_retraining.domain.evaluation.metrics import reading_order
from fraud_retraining.domain.release_messages.request import approve_command, page_address, registry_address
from fraud_retraining.domain.releases.release import MOST_VERSION, Release
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.review.tables import threshold_lines
from fraud_retraining.domain.values.interval import Interval
from fraud_retraining.domain.values.plain_tables import span

APPROVE, REJECT, REASON_VIEW = "approve_release", "reject_release", "reject_release_reason"
REASON_BLOCK, REASON_INPUT = "reason", "text"
LINK = "signed_link"
"""Field of a message that names the recipient of a link; the link is made when the message is sent."""
MERE_TEXT = frozenset({"header", "section", "context", "divider", "plain_text", "mrkdwn"})
"""Types of blocks and texts in which nothing can be pressed but a link."""
MOST_LINES, MOST_SECTIONS = 8, 5


class DecisionButtons(NamedTuple):
    """What a button stands for: one version with one artifact."""

    version: int
    digest: str

    @classmethod
    def of(cls, text: str) -> "DecisionButtons":
        """The value of a button.

        Raises:
            ValueError: it is none of ours.
        """
        version, _, digest = text.partition(":")
        if not (version.isascii() and version.isdigit() and 0 < int(version[:12]) <= MOST_VERSION):
            raise ValueError(f"{version[:20]!r} is no version")
        return cls(int(version), digest)

    @property
    def text(self) -> str:
        """The value of the button."""
        return f"{self.version}:{self.digest}"


def request_message(history: ReleaseHistory, review_report: ReviewReport | None, links: LinkPolicy) -> Body:
    """Return the request for a decision: the version, what the model learnt from, how it did, and two buttons."""
    release = history.release
    title = f"Version {release.version} waits for a decision"
    return {
        "text": mrkdwn(f"{title}: {release.model} as of {release.as_of}", SECTION),
        "blocks": [
            header(f":large_blue_circle: {title}"),
            *_blocks(history, review_report, links),
            section(f"*On the command line*\n`{approve_command(release.version)}`"),
            {"type": "actions", "block_id": f"release-{release.version}", "elements": list(_buttons(release))},
        ],
    }


def decided_message(
    history: ReleaseHistory, review_report: ReviewReport | None, links: LinkPolicy, outcome: str
) -> Body:
    """The same message once it is decided: who, when and why; no buttons."""
    title = f"Version {history.release.version}: {str(history.release.state).replace('_', ' ')}"
    return {
        "text": mrkdwn(f"{title}. {outcome}", SECTION),
        "blocks": [
            header(f":white_check_mark: {title}"),
            section(f"*Came to*\n{mrkdwn(outcome, SECTION - 100)}"),
            *_decided(history.release),
            *_blocks(history, review_report, links),
        ],
    }


def _decided(release: Release) -> Iterator[Body]:
    if release.decided_by is not None and release.decided_at is not None:
        who = f"{release.decided_by}, {release.decided_via}, {release.decided_at:%Y-%m-%d %H:%M} UTC"
        yield section(f"*Decided by*\n{mrkdwn(who, 500)}")


def reason_view(pressed: DecisionButtons) -> Body:
    """Return the dialog for the reason of a rejection."""
    return {
        "type": "modal",
        "callback_id": REASON_VIEW,
        "private_metadata": pressed.text,
        "title": {"type": "plain_text", "text": f"Reject version {pressed.version}"},
        "submit": {"type": "plain_text", "text": "Reject"},
        "blocks": [
            {
                "type": "input",
                "block_id": REASON_BLOCK,
                "label": {"type": "plain_text", "text": "Why? An auditor will read it."},
                "element": {
                    "type": "plain_text_input",
                    "action_id": REASON_INPUT,
                    "multiline": True,
                    "max_length": 1000,
                },
            }
        ],
    }


def personal_link_message(release: Release, reviewer: str) -> Body:
    """Return the direct message to a reviewer: a personal link that works once, still to be made.

    The link proves who follows it, so it is made when the message is sent (`with_signed_link`) and stored nowhere.
    """
    wanted = {"version": release.version, "digest": release.artifact_digest, "reviewer": reviewer}
    return {"text": f"Version {release.version} of {mrkdwn(release.model, 100)} waits for a decision.", LINK: wanted}


def with_signed_link(body: Mapping[str, Any], url: str) -> Body:
    """Return the message with its link filled in."""
    sent = {name: value for name, value in body.items() if name != LINK}
    link = secret_link(url, "Look and decide")
    return {**sent, "text": f"{body['text']} {link} (this link is yours alone and works once)."}


def lets_decide(body: Mapping[str, Any]) -> bool:
    """Whether a message holds a link to be signed, or anything to press.

    Whatever is not known to be mere text counts, so that an element of Slack that this program never sends is none
    that it would forward.
    """
    pending, found = [body.get("blocks")], LINK in body
    while pending and not found:
        part = pending.pop()
        if isinstance(part, Mapping):
            found = "accessory" in part or str(part.get("type", "section")) not in MERE_TEXT
            pending += part.values()
        elif isinstance(part, Sequence) and not isinstance(part, str):
            pending += part
    return found


def pressed_by(body: Mapping[str, Any]) -> str:
    """Return the value of the first button of a request; empty where there is none."""
    blocks = body.get("blocks")
    for block in blocks if isinstance(blocks, list) else []:
        elements = block.get("elements") if isinstance(block, Mapping) and block.get("type") == "actions" else None
        for element in elements if isinstance(elements, list) else []:
            return str(element.get("value", "")) if isinstance(element, Mapping) else ""
    return ""


def _blocks(history: ReleaseHistory, review_report: ReviewReport | None, links: LinkPolicy) -> Iterator[Body]:
    release = history.release
    yield from fields(list(_facts(history)), 1500)
    for name, lines in (
        ("Metrics, champion beside", list(_metrics(history, review_report))),
        *_in_sections("Thresholds, against the champion", list(_thresholds(history))),
        *_in_sections("In shadow on the latest days", list(_shadow(history))),
        ("Gates", [f"{'passed' if gate.passed else 'FAILED'} {gate.name}: {gate.message}" for gate in history.gates]),
        ("Drift", list(_drift(review_report))),
        ("Libraries", [libraries_line(history)] if history.evaluation else []),
        ("Otherwise than for the champion", list(_changes(history))),
    ):
        if lines:
            yield section(f"*{name}*\n{bullets(lines, SECTION - 100, each=300, most=MOST_LINES)}")
    places = {
        "The whole review report": page_address(release, links),
        "The version in the registry": registry_address(release, links),
    }
    shown = [marked_up(slack_link(Link(text=name, url=address))) for name, address in places.items() if address]
    if shown:
        yield {"type": "context", "elements": shown}


def _in_sections(name: str, lines: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Lines of which none may be left out, as many to a section as it shows."""
    for place, start in enumerate(range(0, len(lines), MOST_LINES)):
        if place < MOST_SECTIONS - 1:
            yield name if not start else f"{name}, further ones", lines[start : start + MOST_LINES]
        else:
            yield f"{name}, further ones", lines[start:]
            return


def _facts(history: ReleaseHistory) -> Iterator[tuple[str, str]]:
    release, window = history.release, history.window
    yield "Model", f"{release.model} as of {release.as_of}"
    if history.segment:
        yield "Transactions", history.segment
    yield "Trigger", release.trigger + (f": {history.asked.reason}" if history.asked and history.asked.reason else "")
    if window is not None:
        training, holdout = window.days.training, window.days.holdout
        learnt = f"{training.start} to {training.end}: {window.rows:,} rows, {window.frauds:,} frauds"
        yield "Learnt from", history.learnt_from if history.imported else learnt
        yield "Judged on", f"{holdout.start} to {holdout.end}: {window.holdout_rows:,} rows"
    if history.evaluation is not None and history.evaluation.refit is not None:
        yield "Released fit", history.evaluation.refit.summary
    mapping = history.evaluation.released_mapping if history.evaluation is not None else None
    if mapping is not None:
        yield "Score mapping", mapping.summary
    if release.needs_human is not None:
        yield "Needs a human", release.needs_human
    if release.deadline is not None:
        yield "Decide before", f"{release.deadline:%Y-%m-%d %H:%M} UTC"


def _thresholds(history: ReleaseHistory) -> Iterator[str]:
    alerts = history.evaluation.evidence.alerts if history.evaluation is not None else None
    if isinstance(alerts, AlertChange):
        yield from threshold_lines(alerts)


def _shadow(history: ReleaseHistory) -> Iterator[str]:
    if history.shadow is not None:
        yield history.shadow.summary
        yield from history.shadow.lines


def _metrics(history: ReleaseHistory, review_report: ReviewReport | None) -> Iterator[str]:
    if history.evaluation is None:
        return
    evidence = history.evaluation.evidence
    candidate = evidence.beside.values
    champion = evidence.champion.values if evidence.champion else {}
    intervals = review_report.intervals if review_report else {}
    for name in sorted(candidate, key=reading_order):
        known = intervals.get(name)
        figure = _figure(candidate[name], known.candidate if known else None)
        beside = _figure(champion.get(name), known.champion if known else None)
        if figure:
            yield f"{name.replace('_', ' ')}: {figure}, " + (f"champion {beside}" if beside else "no champion beside")


def _figure(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" + (f" ({span(interval)})" if interval else "")


def _drift(review_report: ReviewReport | None) -> Iterator[str]:
    if review_report is not None and review_report.drift is not None:
        over = [one for one in review_report.drift.features if one.drift > review_report.drift.threshold]
        yield from (f"{one.name}: {one.drift:.2f} on {review_report.drift.day}" for one in over)


def _changes(history: ReleaseHistory) -> Iterator[str]:
    yield from (f"{one.what}: {one.before} -> {one.after}" for one in history.changed)
    yield from history.inputs_changed


def _buttons(release: Release) -> Iterator[Body]:
    value = DecisionButtons(release.version, release.artifact_digest).text
    for action, text, style in ((APPROVE, "Approve", "primary"), (REJECT, "Reject", "danger")):
        label = {"type": "plain_text", "text": text}
        yield {"type": "button", "action_id": action, "text": label, "style": style, "value": value}
