"""Actions in Slack: signatures verified, a button or a reason turned into a decision, the message updated.

Not here: the messages (`domain/release_messages/slack_request.py`) and the shape of payloads (`slack_payloads.py`).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fraud_retraining.domain.alerts.slack_markup import TEXT, mrkdwn
from fraud_retraining.domain.release_messages.slack_request import (
    APPROVE,
    REASON_BLOCK,
    REASON_INPUT,
    REASON_VIEW,
    REJECT,
    DecisionButtons,
    decided_message,
    reason_view,
)
from fraud_retraining.domain.releases.release import Decision, Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import identify_by_slack
from fraud_retraining.domain.values.errors import RetrainingError
from fraud_retraining.serving.release_routes import thanks
from fraud_retraining.serving.release_site import DecisionBinding, ReleaseSite
from fraud_retraining.serving.slack_payloads import NO_INTERACTION, is_release_interaction

if TYPE_CHECKING:
    from slack_bolt import App
    from starlette.requests import Request
    from starlette.responses import Response

SLACK = "Slack"
"""The channel of these decisions in the ledger."""
LOG = logging.getLogger("fraud_retraining.releases")


@dataclass(frozen=True)
class Slack:
    """Access to Slack: the bot's token, the secret of its signatures, and the address of its API."""

    token: str
    signing_secret: str
    api_url: str


@dataclass(frozen=True)
class SlackDecision:
    """A decision that an action in Slack holds: about which release, which decision, and why."""

    buttons: DecisionButtons
    decision: Decision
    reason: str = ""


def slack_endpoint(site: ReleaseSite, slack: Slack) -> Any:
    """The endpoint of Slack's actions; a body whose signature is forged, stale or junk is refused unparsed."""
    from slack_bolt.adapter.starlette import SlackRequestHandler
    from slack_sdk.signature import SignatureVerifier
    from starlette.responses import PlainTextResponse

    handler = SlackRequestHandler(slack_app(site, slack))
    verifier = SignatureVerifier(slack.signing_secret)

    async def endpoint(request: "Request") -> "Response":
        from starlette.concurrency import run_in_threadpool

        body = await request.body()
        # Slack's library would parse the body before it verifies the signature.
        if not _signed(verifier, body, request.headers):
            await run_in_threadpool(site.record_forgery, "a signature that does not verify", SLACK)
            return PlainTextResponse("the signature does not verify", status_code=401)
        if not is_release_interaction(body):
            return PlainTextResponse(NO_INTERACTION, status_code=400)
        answer: Response = await handler.handle(request)
        return answer

    return endpoint


def _signed(verifier: Any, body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        return bool(
            verifier.is_valid(
                body=body.decode("utf-8"),
                timestamp=headers.get("x-slack-request-timestamp", ""),
                signature=headers.get("x-slack-signature", ""),
            )
        )
    except (ValueError, UnicodeError, TypeError):
        return False


def slack_app(site: ReleaseSite, slack: Slack) -> "App":
    """slack-bolt's app: two buttons, and the dialog in which a rejection gets its reason."""
    from slack_bolt import App
    from slack_bolt.authorization import AuthorizeResult
    from slack_sdk import WebClient

    bot = AuthorizeResult(enterprise_id=None, team_id=None, bot_token=slack.token)
    # There is one token: without `authorize`, bolt calls Slack's API to identify it before it answers an action.
    app = App(client=WebClient(base_url=slack.api_url), signing_secret=slack.signing_secret, authorize=lambda **_: bot)

    @app.middleware
    def only_reviewers(body: dict[str, Any], next: Callable[[], Any]) -> Any:
        """Users who are no reviewers are refused, and recorded, before anything happens."""
        from slack_bolt import BoltResponse

        user = str((body.get("user") or {}).get("id", ""))
        try:
            with site.approvals.recording_refusals(_version_of(body), "decision", user or "unknown", SLACK):
                identify_by_slack(site.approvals.policy, user)
        except RetrainingError as error:
            return BoltResponse(status=403, body=error.what)
        return next()

    # Slack shows a failure to the user unless an action is acknowledged within 3 seconds: first `ack`, then the work.
    @app.action(APPROVE)
    def approve(ack: Any, body: dict[str, Any], client: Any) -> None:
        ack()
        buttons = DecisionButtons.of(body["actions"][0]["value"])
        _carry_out(site, client, body, SlackDecision(buttons, Decision.APPROVE))

    @app.action(REJECT)
    def reject(ack: Any, body: dict[str, Any], client: Any) -> None:
        ack()
        buttons = DecisionButtons.of(body["actions"][0]["value"])
        client.views_open(trigger_id=body["trigger_id"], view=reason_view(buttons))

    @app.view(REASON_VIEW)
    def reason(ack: Any, body: dict[str, Any], client: Any, view: dict[str, Any]) -> None:
        ack()
        text = view["state"]["values"][REASON_BLOCK][REASON_INPUT]["value"] or ""
        buttons = DecisionButtons.of(view["private_metadata"])
        _carry_out(site, client, body, SlackDecision(buttons, Decision.REJECT, text))

    return app


def _version_of(body: Mapping[str, Any]) -> int | None:
    """The version that an action is about, where it names one."""
    actions = body.get("actions") or [{}]
    text = str(actions[0].get("value") or (body.get("view") or {}).get("private_metadata") or "")
    try:
        return DecisionButtons.of(text).version
    except ValueError:
        return None


def _carry_out(site: ReleaseSite, client: Any, body: Mapping[str, Any], action: SlackDecision) -> None:
    """Record the decision; send its result to the user, and remove the buttons from the message."""
    user, buttons = body["user"]["id"], action.buttons
    try:
        identity = identify_by_slack(site.approvals.policy, user)
        binding = DecisionBinding(expected_digest=buttons.digest)
        release = site.decide(buttons.version, action.decision, identity, action.reason, SLACK, binding)
    except RetrainingError as error:
        _send_result(client, user, f"That was not done: {error}")
        return
    if release.state is ReleaseState.AWAITING_APPROVAL:
        _send_result(client, user, thanks(release))
        return
    _show_decided(site, client, body, release)


def _send_result(client: Any, user: str, text: str) -> None:
    """Send a direct message; a failure to send it changes nothing of what was decided."""
    from slack_sdk.errors import SlackClientError

    try:
        client.chat_postMessage(channel=user, text=mrkdwn(text, TEXT))
    except (SlackClientError, OSError) as error:
        LOG.warning("the answer to a click could not be sent: %s", error)


def _show_decided(site: ReleaseSite, client: Any, body: Mapping[str, Any], release: Release) -> None:
    from slack_sdk.errors import SlackClientError

    container = body.get("container") or {}
    # A reason comes from a dialog, which has no message of its own.
    if "message_ts" not in container:
        return
    history, review_report = site.history(release.version)
    state = str(release.state).replace("_", " ")
    outcome = f"{state} by {release.decided_by} ({release.decided_via}): {release.reason}"
    try:
        client.chat_update(
            channel=container["channel_id"],
            ts=container["message_ts"],
            **decided_message(history, review_report, site.addresses, outcome),
        )
    except (SlackClientError, OSError) as error:
        LOG.warning(
            "the message about version %s keeps its buttons until the outbox updates it: %s", release.version, error
        )
