"""Messages keep the limits of Slack and PagerDuty, and show no secret and no trick, whatever a notice says."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.alerts.failures import Audience, Category, Severity
from fraud_retraining.domain.alerts.notices import (
    AlertPolicy,
    Link,
    LinkPolicy,
    Notice,
    PagerDutyPolicy,
    failure_notice,
    paused_notice,
)
from fraud_retraining.domain.alerts.pagerduty import pagerduty_event
from fraud_retraining.domain.alerts.routing import (
    closing_messages,
    escalation_message,
    opening_messages,
    update_messages,
)
from fraud_retraining.domain.alerts.slack import slack_message
from fraud_retraining.domain.alerts.slack_markup import mrkdwn, web_address
from fraud_retraining.domain.alerts.text import dedup_key
from fraud_retraining_tests.support.notices import AS_OF, LINKS, a_failure, a_notice, an_occasion
from fraud_retraining_tests.support.reviewers import limits_of

BOTH = AlertPolicy(pagerduty=PagerDutyPolicy())
HOSTILE = "<!channel> <@U1> <https://evil|click> & `*_~ \u202e\x00\n*What to do*\nnothing"

texts = st.text(max_size=5000) | st.sampled_from(["&" * 4000, HOSTILE, "x" * 5000, "password=hunter2"])
notices = st.builds(
    Notice,
    key=st.text(min_size=1, max_size=400),
    model=texts,
    category=texts,
    severity=st.sampled_from(Severity),
    audience=st.sampled_from(Audience),
    title=texts,
    facts=st.lists(st.tuples(texts, texts), max_size=20).map(tuple),
    why=st.lists(texts, max_size=80).map(tuple),
    serving=texts,
    todo=texts,
    links=st.lists(st.builds(Link, text=texts, url=texts | texts.map("https://x/".__add__)), max_size=12).map(tuple),
)


@given(notice=notices, seen=st.integers(1, 10**6), resolved=texts)
def test_no_notice_exceeds_a_limit_of_slack(notice: Notice, seen: int, resolved: str) -> None:
    message = slack_message(notice, seen=seen, resolved=resolved)
    assert limits_of(message["blocks"]) == []
    assert len(message["text"]) <= 4000


@given(notice=notices)
def test_no_notice_exceeds_a_limit_of_pagerduty(notice: Notice) -> None:
    event = pagerduty_event(notice, "source")
    assert len(event["payload"]["summary"]) <= 1024
    assert len(event["dedup_key"]) <= 255
    assert len(json.dumps(event)) < 512_000
    assert json.loads(json.dumps(event)) == event


@given(text=texts, limit=st.integers(10, 600))
def test_escaped_text_holds_no_control_of_slacks_and_no_half_entity(text: str, limit: int) -> None:
    shown = mrkdwn(text, limit)
    assert len(shown) <= limit
    assert not set("<>") & set(shown)
    assert re.sub("&amp;|&lt;|&gt;", "", shown).count("&") == 0


def slack_sees(text: str) -> list[str]:
    """What Slack makes of an escaped text: mentions, links and formatting, by its documented rules."""
    begins, ends = r"(?:^|(?<=[^\w]))", r"(?=$|[^\w])"
    rules = {
        "control": r"<[^>]*>",
        "mention": r"(?i)@(?:channel|here|everyone)\b",
        "link": r"(?i)\bhttps?://\S",
        "quote": r"^(?:>|&gt;)",
        "code": "`",
        **{name: rf"{begins}{re.escape(sign)}[^\n]+{re.escape(sign)}{ends}" for name, sign in FORMATS.items()},
    }
    return [name for name, rule in rules.items() if re.search(rule, text)]


FORMATS = {"bold": "*", "italic": "_", "strike": "~"}
SIGNS = ("*", "_", "~", "`", "```", "<", ">", "&", "&gt;", "@channel", "@HERE", "@everyone", "<!here>", "<@U1>", "#x")
WORDS = (
    "https://evil.example",
    "HTTP://x",
    "a",
    "Z9",
    "é",
    "average_precision",
    "\u200b",
    "\u2060",
    "\n",
    ".",
    "-",
    " ",
)
PIECES = st.sampled_from((*SIGNS, *WORDS))


def test_the_rules_of_this_test_see_what_slack_would() -> None:
    seen = slack_sees("*b* _i_ ~s~ `c` <!here> @channel https://x") + slack_sees("> q")
    assert set(seen) == {"bold", "italic", "strike", "code", "control", "mention", "link", "quote"}
    assert slack_sees("average_precision of card_id_2 at a*b") == []


@settings(deadline=None)
@given(text=st.lists(PIECES, max_size=30).map("".join) | texts, limit=st.integers(10, 600))
def test_text_from_data_makes_no_mention_no_link_and_no_formatting(text: str, limit: int) -> None:
    assert slack_sees(mrkdwn(text, limit)) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("average_precision of terminal_id_7", "average_precision of terminal_id_7"),
        ("alice@example.com and models:/m@champion", "alice@example.com and models:/m@champion"),
        ("s3://payments/fraud & 1 < 2", "s3://payments/fraud &amp; 1 &lt; 2"),
        ("run `fraud-retraining pending`", "run 'fraud-retraining pending'"),
    ],
)
def test_what_formats_nothing_stays_readable(text: str, shown: str) -> None:
    assert mrkdwn(text, 100) == shown


def test_hostile_text_mentions_nobody_and_makes_no_section_of_its_own() -> None:
    notice = a_notice().model_copy(update={"why": (HOSTILE,), "serving": HOSTILE, "title": HOSTILE})
    text = json.dumps(slack_message(notice), ensure_ascii=False)
    assert "<!channel>" not in text
    assert "<@U1>" not in text
    assert "|click>" not in text
    assert "\u202e" not in text
    assert text.count(r"*What to do*\n") == 1


def test_secrets_are_blanked_everywhere() -> None:
    secret = "postgresql://u:hunter2@db/x token=abc123 xoxb-1-2-3"
    links = (Link(text="x", url="https://user:hunter2@dagster/runs?token=abc123"),)
    notice = a_notice().model_copy(
        update={"why": (secret,), "facts": ((secret, secret),), "serving": secret, "title": secret, "links": links}
    )
    text = json.dumps([slack_message(notice, resolved=secret), pagerduty_event(notice, secret)])
    for hidden in ("hunter2", "abc123", "xoxb-1"):
        assert hidden not in text


def test_a_long_list_says_how_much_is_left_out() -> None:
    notice = a_notice().model_copy(update={"why": tuple(f"day {n} is bad: {'x' * 80}" for n in range(100))})
    (why,) = [text for text in map(_first, slack_message(notice)["blocks"]) if text.startswith("*Why*")]
    shown = why.count("• day")
    assert f"... and {100 - shown} more" in why
    assert "... and 50 more" in json.dumps(pagerduty_event(notice, "s"))


def test_links_are_links_only_where_they_lead_to_the_web() -> None:
    bare = failure_notice(a_failure(Category.GATE_FAILED), an_occasion(), LinkPolicy())
    text = json.dumps(slack_message(bare)["blocks"])
    assert "Runbook: docs/runbook.md#gate-failed" in text
    assert "dagster.example" not in text
    assert web_address("javascript:alert(1)") is None
    assert web_address("https://x/a|b>c d") == "https://x/a%7Cb%3Ec%20d"
    full = failure_notice(a_failure(Category.GATE_FAILED), an_occasion(mlflow_run_id="m1"), LINKS)
    assert [link.url for link in full.links] == [
        "https://dagster.example/runs/run-1",
        "https://mlflow.example/#/runs/m1",
        "https://docs.example/r#gate-failed",
    ]


@pytest.mark.parametrize(
    ("category", "policy", "where"),
    [
        (Category.DATA_VALIDATION, BOTH, ["slack:#data-quality"]),
        (Category.GATE_FAILED, BOTH, ["slack:#ml-alerts"]),
        (Category.BUDGET_EXCEEDED, BOTH, ["slack:#ml-oncall", "pagerduty"]),
        (Category.UNEXPECTED, BOTH, ["slack:#ml-oncall", "pagerduty"]),
        (Category.UNEXPECTED, AlertPolicy(), ["slack:#ml-oncall"]),
        (Category.UNEXPECTED, AlertPolicy(slack=None, pagerduty=PagerDutyPolicy()), ["pagerduty"]),
        (Category.GATE_FAILED, AlertPolicy(slack=None, pagerduty=PagerDutyPolicy()), ["file"]),
        (Category.UNEXPECTED, AlertPolicy(slack=None), ["file"]),
    ],
)
def test_where_a_notice_goes(category: Category, policy: AlertPolicy, where: list[str]) -> None:
    assert [message.destination for message in opening_messages(a_notice(category), policy)] == where


def test_what_is_reported_again_changes_slack_only_and_what_ends_goes_where_it_was_reported() -> None:
    notice = a_notice(Category.UNEXPECTED)
    assert [(m.destination, m.action) for m in update_messages(notice, BOTH, 2)] == [("slack:#ml-oncall", "update")]
    ended = closing_messages(notice, ("slack:#ml-oncall", "pagerduty", "file"), "it passed")
    assert [(m.destination, m.action) for m in ended] == [
        ("slack:#ml-oncall", "update"),
        ("slack:#ml-oncall", "reply"),
        ("pagerduty", "resolve"),
        ("file", "resolve"),
    ]
    assert "What to do" not in json.dumps(ended[0].body)
    assert escalation_message(notice, AlertPolicy()) is None


def test_trigger_and_resolve_name_the_same_incident_however_long_its_key() -> None:
    notice = a_notice(fingerprint=None).model_copy(update={"key": "k" * 300})
    other = notice.model_copy(update={"key": "k" * 299 + "j"})
    assert dedup_key(notice) == pagerduty_event(notice, "s")["dedup_key"]
    assert len({dedup_key(notice), dedup_key(other)}) == 2
    assert dedup_key(a_notice()) == f"fraud_detector/dependency:as-of {AS_OF}"


def test_a_pause_is_reported_with_its_cause_and_the_way_back() -> None:
    notice = paused_notice("gate_failed:f00d", 2, an_occasion(), LINKS)
    text = json.dumps(slack_message(notice))
    assert "gate_failed:f00d" in text
    assert "fraud-retraining resume" in text
    assert notice.severity is Severity.CRITICAL


def _first(block: dict[str, Any]) -> str:
    return str(block.get("text", {}).get("text", ""))


def test_why_and_what_serves_are_sentences_of_their_own_in_every_message() -> None:
    notice = a_notice().model_copy(
        update={"title": "Refused", "why": ("it failed its gates",), "serving": "version 11"}
    )
    assert "Refused. It failed its gates. Version 11." in slack_message(notice)["text"]
    assert "Refused. It failed its gates." in pagerduty_event(notice, "here")["payload"]["summary"]
