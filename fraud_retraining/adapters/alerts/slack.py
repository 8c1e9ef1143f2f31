"""Slack, through dagster-slack. No retries are left to the client: they would sleep in a sensor."""

import logging
from collections.abc import Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

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
from fraud_retraining.domain.alerts.slack import SlackComposer
from fraud_retraining.domain.release_messages.slack_request import LINK, lets_decide

if TYPE_CHECKING:
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError

LOG = logging.getLogger("fraud_retraining.alerts")
SLACK_VARIABLE = "SLACK_BOT_TOKEN"
BODY_REFUSED = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long"})
GONE = frozenset({"cant_update_message", "edit_window_closed", "message_not_found", "thread_not_found"})
PASSING = frozenset(
    {
        "accesslimited",
        "fatal_error",
        "internal_error",
        "ratelimited",
        "rate_limited",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
    }
)


class BodyRefused(Undelivered):
    """A message whose form was refused."""


class SlackDestination(SlackComposer, Destination):
    """Channels, direct messages and their threads."""

    title = "Slack"
    is_required = False

    def variables(self, policy: AlertPolicy) -> tuple[str, ...]:
        """The bot's token."""
        return (SLACK_VARIABLE,)

    def summary(self, policy: AlertPolicy) -> str:
        """The channels."""
        return ", ".join(dict(policy.slack.channels).values()) if policy.slack else "off"

    def send(self, delivery: Delivery, means: SendingMeans) -> Receipt:
        """Post, change or reply; where Slack refuses the blocks, send the text alone."""
        if delivery.action is not Action.OPEN and not delivery.receipt:
            raise Undelivered("the message that it belongs to never arrived", hopeless=True)
        require_form(delivery.body, {"text": str}, {"blocks": list, LINK: dict})
        if delivery.receipt:
            require_form(delivery.receipt, {"channel": str, "ts": str}, {})
        body = means.composed(delivery) if lets_decide(delivery.body) else delivery.body
        try:
            return self._posted(delivery, body, means)
        except BodyRefused as error:
            if "blocks" not in body:
                raise
            LOG.error("Slack refused the blocks of %s; its text goes alone: %s", delivery.notice.key, error)
            return self._posted(delivery, {"text": body["text"]}, means)

    def _posted(self, delivery: Delivery, body: Mapping[str, Any], means: SendingMeans) -> Receipt:
        from slack_sdk.errors import SlackApiError, SlackClientError

        try:
            return _posted(_client(means), delivery, body)
        except SlackApiError as error:
            raise _refusal(error) from error
        except (SlackClientError, OSError, HTTPException) as error:
            raise Undelivered(f"Slack did not answer: {error}") from error


def _client(means: SendingMeans) -> "WebClient":
    from dagster_slack import SlackResource

    client = SlackResource(token=means.secret(SLACK_VARIABLE)).get_client()
    if means.policy.slack is not None:
        client.base_url = means.policy.slack.api_url
    client.timeout = TIMEOUT_SECONDS
    # Nor does it repeat a lost connection: the outbox counts attempts, with pauses that grow.
    client.retry_handlers = []
    return client


def _posted(client: "WebClient", delivery: Delivery, body: Mapping[str, Any]) -> Receipt:
    known = delivery.receipt or {}
    if delivery.action is Action.UPDATE:
        answer = client.chat_update(channel=known["channel"], ts=known["ts"], **body)
    else:
        # The destination and not the receipt's channel: the settings name the one, the other is what the outbox holds.
        place = {"thread_ts": known["ts"]} if delivery.action is Action.REPLY else {"unfurl_links": False}
        answer = client.chat_postMessage(channel=delivery.destination.split(":", 1)[1], **place, **body)
    return {"channel": answer["channel"], "ts": answer["ts"]}


def _refusal(error: "SlackApiError") -> Undelivered:
    response = error.response
    status, headers = getattr(response, "status_code", None), getattr(response, "headers", None) or {}
    code = response.get("error") if isinstance(response.data, dict) else None
    problem = f"Slack answered {status}: {code}"
    if status == 429 or code in ("ratelimited", "rate_limited"):
        return Undelivered(problem, wait=retry_after(headers))
    # An answer that is not Slack's JSON comes from something on the way.
    if (isinstance(status, int) and status >= 500) or code is None or code in PASSING:
        return Undelivered(problem)
    if code in BODY_REFUSED:
        return BodyRefused(problem, hopeless=True)
    return Undelivered(problem, hopeless=code in GONE, blocked=code not in GONE)
