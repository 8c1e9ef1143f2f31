"""The app behind the page of releases and the buttons in Slack.

Here: HTTP: who asks, what they get to see, and which decision their answer is. Every decision goes to the one desk. Not
here: what a decision does (`services/approvals.py`), how a page looks (`adapters/pages/html.py`), and the messages in
Slack (`domain/approvals/slack_request.py`).

Reading is open to whoever reaches the app; deciding needs a signed one-time link, the header of a configured login
proxy, or a click in Slack whose signature verifies.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from fraud_retraining.adapters.days.review_reports import read_review_report
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.pages.html import DecisionForm, answer_html, release_html, releases_html
from fraud_retraining.adapters.pages.pictures import CAPTIONS
from fraud_retraining.adapters.pages.review_pictures import ReviewPictures, pictures_key
from fraud_retraining.adapters.pages.signed_links import ReleaseLinks, SignedLink
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.notices import LinkPolicy
from fraud_retraining.domain.alerts.slack_markup import TEXT, mrkdwn
from fraud_retraining.domain.approvals.slack_request import (
    APPROVE,
    REASON_BLOCK,
    REASON_INPUT,
    REASON_VIEW,
    REJECT,
    DecisionButtons,
    decided_message,
    reason_view,
)
from fraud_retraining.domain.audit.history import ReleaseHistory
from fraud_retraining.domain.releases.lifecycle import MOST_VERSION, Decision, Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import (
    Identity,
    ReviewerPolicy,
    identify_by_link,
    identify_by_proxy,
    identify_by_slack,
    is_proxy,
)
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.values.errors import (
    Conflict,
    DependencyUnreachable,
    GateFailed,
    IntegrityError,
    NotPermitted,
    RetrainingError,
    SettingsError,
)
from fraud_retraining.services.approvals import ReleaseApprovals
from fraud_retraining.services.release_history import read_release_history
from fraud_retraining.serving.latest import Latest
from fraud_retraining.serving.limits import Limited
from fraud_retraining.serving.slack_clicks import NO_CLICK, is_click

if TYPE_CHECKING:
    from slack_bolt import App
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

PAGE, SLACK, SLACK_ACTIONS = "page", "Slack", "/slack/actions"
FIELDS = 20
SLACK_BYTES = 1_000_000
"""Most of a click in Slack, which carries the whole message."""
RECORDED_EVERY_SECONDS = 60.0
STATUS: Mapping[type[RetrainingError], int] = {
    NotPermitted: 403,
    SettingsError: 400,
    Conflict: 409,
    GateFailed: 409,
    IntegrityError: 409,
    DependencyUnreachable: 503,
}
KEPT = 16
FOR_EVER = "private, max-age=31536000, immutable"
"""Of a picture, whose address changes with it."""
LOG = logging.getLogger("fraud_retraining.releases")


@dataclass(frozen=True)
class Slack:
    """What Slack's clicks need: the bot's token, the secret of its signatures, and where its API is."""

    token: str
    signing_secret: str
    api_url: str


@dataclass(frozen=True)
class LoginProxy:
    """The login proxy in front of the page, and the secret that it presents; empty if its addresses alone tell it."""

    policy: ReviewerPolicy
    secret: str

    def login(self, request: "Request") -> str | None:
        """Whom it let through; None for a request that it did not send."""
        presented = request.headers.get(self.policy.proxy_secret_header, "")
        peer = request.client.host if request.client else None
        if not is_proxy(self.policy, self.secret, presented, peer):
            return None
        return request.headers.get(self.policy.proxy_header or "")


class Site:
    """Releases as people see and decide them."""

    def __init__(
        self,
        approvals: ReleaseApprovals,
        store: Store,
        links: ReleaseLinks | None,
        proxy: LoginProxy | None,
        shown: LinkPolicy,
    ) -> None:
        self.approvals = approvals
        self.shown = shown
        self._store = store
        self._links = links
        self._proxy = proxy
        self._pictures = ReviewPictures(store)
        self._histories: Latest[tuple[ReleaseHistory, ReviewReport | None]] = Latest(KEPT)
        self._pages: Latest[str] = Latest(KEPT)
        self._recorded_at: float | None = None

    @property
    def ledger(self) -> Ledger:
        """The record."""
        return self.approvals.ledger

    def history(self, version: int) -> tuple[ReleaseHistory, ReviewReport | None]:
        """A version as the record has it, with its reviewer's pack where that can be read."""
        return self._histories.get(
            (version, self.ledger.head()), lambda: self._read(version), lambda read: bool(read[1])
        )

    def page(self, version: int, show: Callable[[ReleaseHistory, ReviewReport | None], str]) -> str:
        """What everybody is shown of a version, made once for each state of the record."""
        key, (history, review_report) = (version, self.ledger.head()), self.history(version)
        return self._pages.get(key, lambda: show(history, review_report), lambda _: review_report is not None)

    def _read(self, version: int) -> tuple[ReleaseHistory, ReviewReport | None]:
        history = read_release_history(self.ledger, version)
        judged = history.evaluation
        if judged is None or not judged.review_digest:
            return history, None
        try:
            return history, read_review_report(self._store, history.release.fingerprint, judged.review_digest)
        except RetrainingError as error:
            LOG.warning("the reviewer's pack of version %s cannot be shown: %s", version, error)
            return history, None

    def picture(self, version: int, key: str, name: str) -> bytes | None:
        """A picture of a version by its address; none where there is no such picture.

        Raises:
            Conflict: there is no release of that version.
        """
        history, review_report = self.history(version)
        judged = history.evaluation
        if judged is None or review_report is None or pictures_key(judged) != key:
            return None
        return self._pictures.of(judged, review_report).get(name)

    def link(self, token: str) -> SignedLink | None:
        """What a signed link says; none where none was followed.

        Raises:
            NotPermitted: it is forged or too old, or links are not in use.
        """
        if not token:
            return None
        if self._links is None:
            raise NotPermitted("signed links are not in use", remedy="set RELEASES_LINK_SECRET where this runs.")
        return self._links.read(token)

    def login(self, request: "Request") -> str | None:
        """Whom the login proxy let through; none without one."""
        return self._proxy.login(request) if self._proxy else None

    def decide(
        self, version: int, answer: Decision, identity: Identity, reason: str, channel: str, **bound: Any
    ) -> Release:
        """The answer of somebody whose identity was proven."""
        act = self.approvals.approve if answer is Decision.APPROVE else self.approvals.reject
        return act(version, identity, reason, channel=channel, **bound)

    def record_forgery(self, why: str, channel: str) -> None:
        """Records a request that proved nothing; at most once a minute, so that nobody fills the record."""
        now = time.monotonic()
        LOG.warning("refused by %s: %s", channel, why)
        if self._recorded_at is None or now - self._recorded_at > RECORDED_EVERY_SECONDS:
            self._recorded_at = now
            refusal = NotPermitted(why)
            self.ledger.refuse(None, "request", "unknown", channel=channel, refusal=refusal)


def build_app(site: Site, slack: Slack | None) -> "ASGIApp":
    """The app within its limits; without `slack` it serves the page alone."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    routes = [
        Route("/", lambda request: _redirect(), methods=["GET"]),
        Route("/favicon.ico", lambda request: _nothing(), methods=["GET"]),
        Route("/releases", _reading(site, _index), methods=["GET"]),
        Route("/releases/{version}", _reading(site, _page), methods=["GET"]),
        Route("/releases/{version}", _deciding(site), methods=["POST"]),
        Route("/releases/{version}/pictures/{key}/{name}.png", _picture(site), methods=["GET"]),
    ]
    if slack is not None:
        routes.append(Route(SLACK_ACTIONS, _slack_route(site, slack), methods=["POST"]))
    handlers = {404: _answer_of("There is no such page", 404), 405: _answer_of("That cannot be done here", 405)}
    return Limited(Starlette(routes=routes, exception_handlers=handlers), {SLACK_ACTIONS: SLACK_BYTES})


def _answer_of(title: str, status: int) -> Any:
    async def endpoint(request: "Request", error: Exception) -> "Response":
        return _html(answer_html(title, "The releases are all there is to see."), status)

    return endpoint


def _redirect() -> "Response":
    from starlette.responses import RedirectResponse

    return RedirectResponse("/releases")


def _nothing() -> "Response":
    """What browsers ask for beside every page, and what there is none of."""
    from starlette.responses import Response

    return Response(status_code=204, headers={"Cache-Control": FOR_EVER})


def _html(text: str, status: int = 200) -> "Response":
    from starlette.responses import HTMLResponse

    return HTMLResponse(text, status_code=status)


def _refused(error: RetrainingError) -> "Response":
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return _html(answer_html("That was not done", str(error)), status)


# ---------------------------------------------------------------- the page


def _reading(site: Site, show: Callable[[Site, "Request"], str]) -> Any:
    """A page that is read; reads run in a thread, since the database waits."""

    async def endpoint(request: "Request") -> "Response":
        from starlette.concurrency import run_in_threadpool

        try:
            return _html(await run_in_threadpool(show, site, request))
        except Conflict as error:
            return _html(answer_html("There is no such version", str(error)), 404)
        except RetrainingError as error:
            return _refused(error)

    return endpoint


def _index(site: Site, request: "Request") -> str:
    releases = sorted(site.ledger.releases(), key=lambda release: -release.version)
    return releases_html(site.approvals.pending(), releases)


def _page(site: Site, request: "Request") -> str:
    version, token, login = _version(request), request.query_params.get("link", ""), site.login(request)
    if not token and login is None:
        return site.page(version, lambda history, review_report: _release(site, history, review_report, None))
    history, review_report = site.history(version)
    return _release(site, history, review_report, _ask(site, history, token, login))


def _release(site: Site, history: ReleaseHistory, review_report: ReviewReport | None, ask: DecisionForm | None) -> str:
    judged = history.evaluation
    if judged is None or review_report is None:
        return release_html(history, review_report, ask, site.shown)
    at = f"/releases/{history.release.version}/pictures/{pictures_key(judged)}"
    return release_html(history, review_report, ask, site.shown, {name: f"{at}/{name}.png" for name in CAPTIONS})


def _picture(site: Site) -> Any:
    """A picture, which a browser may keep: its address names its digest."""

    async def endpoint(request: "Request") -> "Response":
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import Response

        key, name = request.path_params["key"], request.path_params["name"]
        try:
            png = await run_in_threadpool(site.picture, _version(request), key, name)
        except Conflict:
            png = None
        except RetrainingError as error:
            return _refused(error)
        if png is None:
            return _html(answer_html("There is no such picture", "Open the page of the version."), 404)
        headers = {"Cache-Control": FOR_EVER, "ETag": f'"{key}-{name}"'}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(png, media_type="image/png", headers=headers)

    return endpoint


def _ask(site: Site, history: ReleaseHistory, token: str, login: str | None) -> DecisionForm | None:
    """The form, for somebody who may use it while it can be used."""
    if history.release.state is not ReleaseState.AWAITING_APPROVAL:
        return None
    link = site.link(token)
    if link is not None:
        return DecisionForm(who=link.reviewer, link=token) if link.version == history.release.version else None
    return DecisionForm(who=login, link="") if login else None


def _deciding(site: Site) -> Any:
    async def endpoint(request: "Request") -> "Response":
        from starlette.concurrency import run_in_threadpool

        body = await request.body()
        try:
            version, form = _version(request), _form(body)
        except (Conflict, SettingsError) as error:
            return _html(answer_html("That was not done", str(error)), 404 if isinstance(error, Conflict) else 400)
        try:
            release = await run_in_threadpool(_decided, site, request, version, form)
        except NotPermitted as error:
            return _refused(error)
        except SettingsError as error:
            return await run_in_threadpool(_asked_again, site, request, version, form, error)
        except RetrainingError as error:
            return _refused(error)
        state = str(release.state).replace("_", " ")
        return _html(answer_html(f"Version {release.version}: {state}", _thanks(release)))

    return endpoint


def _version(request: "Request") -> int:
    """The version that an address names.

    Raises:
        Conflict: no version has such a number.
    """
    text = str(request.path_params["version"])
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MOST_VERSION)) else 0
    if not 0 < number <= MOST_VERSION:
        raise Conflict("there is no release of such a version", remedy="versions are whole numbers from 1 on.")
    return number


def _form(body: bytes) -> dict[str, str]:
    """The fields of a form, without characters that nobody can read.

    Raises:
        SettingsError: it has too many fields.
    """
    try:
        found = parse_qs(body.decode("utf-8", "replace"), max_num_fields=FIELDS)
    except ValueError:
        raise SettingsError("the form has too many fields", remedy="use the form of the page.") from None
    return {name: "".join(filter(_readable, values[0])) for name, values in found.items()}


def _readable(letter: str) -> bool:
    return letter.isprintable() or letter in "\n\t"


def _asked_again(
    site: Site, request: "Request", version: int, form: Mapping[str, str], error: SettingsError
) -> "Response":
    """The page once more, with what was typed and what is missing; nothing was decided."""
    try:
        history, review_report = site.history(version)
        ask = _ask(site, history, form.get("link", ""), site.login(request))
    except RetrainingError:
        return _refused(error)
    if ask is None:
        return _refused(error)
    typed = {"decision": form.get("decision", ""), "reason": form.get("reason", ""), "problem": _problem(error)}
    return _html(_release(site, history, review_report, ask.model_copy(update=typed)), STATUS[SettingsError])


def _problem(error: RetrainingError) -> str:
    return ". ".join(part.rstrip(".") for part in (f"Nothing was decided: {error.what}", error.remedy) if part) + "."


def _thanks(release: Release) -> str:
    if release.state is ReleaseState.AWAITING_APPROVAL:
        return f"{release.first_approval_by} approved; a second reviewer has to approve too."
    return f"Decided by {release.decided_by}, {release.decided_via}."


def _decided(site: Site, request: "Request", version: int, form: Mapping[str, str]) -> Release:
    answer = _answer(form.get("decision", ""))
    try:
        link = site.link(form.get("link", ""))
    except NotPermitted as error:
        site.record_forgery(error.what, PAGE)
        raise
    policy, reason = site.approvals.policy, form.get("reason", "")
    if link is not None:
        if link.version != version:
            raise NotPermitted("the link is for another version", remedy="follow the link as it was sent.")
        with site.approvals.recording_refusals(version, answer, link.reviewer, PAGE):
            identity = identify_by_link(policy, link.reviewer)
        return site.decide(version, answer, identity, reason, PAGE, expected_digest=link.digest, nonce=link.nonce)
    login = site.login(request)
    if login is None:
        raise NotPermitted("nothing says who you are", remedy="follow your own signed link, or log in by the proxy.")
    _require_same_origin(request)
    with site.approvals.recording_refusals(version, answer, login, PAGE):
        identity = identify_by_proxy(policy, login)
    return site.decide(version, answer, identity, reason, PAGE)


def _answer(text: str) -> Decision:
    try:
        return Decision(text)
    except ValueError:
        raise SettingsError(f"{text[:50]!r} is no decision", remedy="approve or reject.") from None


def _require_same_origin(request: "Request") -> None:
    """A browser that was sent here by another site says so; a login alone is not an intention."""
    origin = request.headers.get("origin") or request.headers.get("referer") or ""
    if _place(origin) != request.headers.get("host"):
        raise NotPermitted("the form was sent from another site", remedy="open the page itself and decide there.")


def _place(origin: str) -> str | None:
    """Host and port of an address; none where it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


# ---------------------------------------------------------------- Slack


def _slack_route(site: Site, slack: Slack) -> Any:
    """Slack's clicks. A body whose signature is forged, stale or junk is refused before anything reads it."""
    from slack_bolt.adapter.starlette import SlackRequestHandler
    from slack_sdk.signature import SignatureVerifier
    from starlette.responses import PlainTextResponse

    handler = SlackRequestHandler(slack_app(site, slack))
    verifier = SignatureVerifier(slack.signing_secret)

    async def endpoint(request: "Request") -> "Response":
        from starlette.concurrency import run_in_threadpool

        body = await request.body()
        if not _signed(verifier, body, request.headers):
            await run_in_threadpool(site.record_forgery, "a signature that does not verify", SLACK)
            return PlainTextResponse("the signature does not verify", status_code=401)
        if not is_click(body):
            return PlainTextResponse(NO_CLICK, status_code=400)
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


def slack_app(site: Site, slack: Slack) -> "App":
    """slack-bolt's app: two buttons, and the dialog that asks for a reason."""
    from slack_bolt import App
    from slack_bolt.authorization import AuthorizeResult
    from slack_sdk import WebClient

    bot = AuthorizeResult(enterprise_id=None, team_id=None, bot_token=slack.token)
    # the one token of the environment: Slack need not be asked whose it is before a click is answered
    app = App(client=WebClient(base_url=slack.api_url), signing_secret=slack.signing_secret, authorize=lambda **_: bot)

    @app.middleware
    def only_reviewers(body: dict[str, Any], next: Callable[[], Any]) -> Any:
        """Strangers are refused, and recorded, before anything happens."""
        from slack_bolt import BoltResponse

        user = str((body.get("user") or {}).get("id", ""))
        try:
            with site.approvals.recording_refusals(_asked_version(body), "decision", user or "unknown", SLACK):
                identify_by_slack(site.approvals.policy, user)
        except RetrainingError as error:
            return BoltResponse(status=403, body=error.what)
        return next()

    @app.action(APPROVE)
    def approve(ack: Any, body: dict[str, Any], client: Any) -> None:
        ack()
        _click(site, client, body, DecisionButtons.of(body["actions"][0]["value"]), Decision.APPROVE, "")

    @app.action(REJECT)
    def reject(ack: Any, body: dict[str, Any], client: Any) -> None:
        ack()
        client.views_open(
            trigger_id=body["trigger_id"], view=reason_view(DecisionButtons.of(body["actions"][0]["value"]))
        )

    @app.view(REASON_VIEW)
    def reason(ack: Any, body: dict[str, Any], client: Any, view: dict[str, Any]) -> None:
        ack()
        told = view["state"]["values"][REASON_BLOCK][REASON_INPUT]["value"] or ""
        _click(site, client, body, DecisionButtons.of(view["private_metadata"]), Decision.REJECT, told)

    return app


def _asked_version(body: Mapping[str, Any]) -> int | None:
    """The version that a click is about, where it says one."""
    actions = body.get("actions") or [{}]
    text = str(actions[0].get("value") or (body.get("view") or {}).get("private_metadata") or "")
    try:
        return DecisionButtons.of(text).version
    except ValueError:
        return None


def _click(
    site: Site, client: Any, body: Mapping[str, Any], asked: DecisionButtons, answer: Decision, reason: str
) -> None:
    """Carries a click out; whoever clicked is told what came of it, and the message loses its buttons."""
    user = body["user"]["id"]
    try:
        identity = identify_by_slack(site.approvals.policy, user)
        release = site.decide(asked.version, answer, identity, reason, SLACK, expected_digest=asked.digest)
    except RetrainingError as error:
        _answer_clicker(client, user, f"That was not done: {error}")
        return
    if release.state is ReleaseState.AWAITING_APPROVAL:
        _answer_clicker(client, user, _thanks(release))
        return
    _show_decided(site, client, body, release)


def _answer_clicker(client: Any, user: str, text: str) -> None:
    """A direct message; that it cannot be sent changes nothing of what was decided."""
    from slack_sdk.errors import SlackClientError

    try:
        client.chat_postMessage(channel=user, text=mrkdwn(text, TEXT))
    except (SlackClientError, OSError) as error:
        LOG.warning("the answer to a click could not be sent: %s", error)


def _show_decided(site: Site, client: Any, body: Mapping[str, Any], release: Release) -> None:
    from slack_sdk.errors import SlackClientError

    container = body.get("container") or {}
    if "message_ts" not in container:
        return
    history, review_report = site.history(release.version)
    told = f"{str(release.state).replace('_', ' ')} by {release.decided_by} ({release.decided_via}): {release.reason}"
    try:
        client.chat_update(
            channel=container["channel_id"],
            ts=container["message_ts"],
            **decided_message(history, review_report, site.shown, told),
        )
    except (SlackClientError, OSError) as error:
        LOG.warning(
            "the message about version %s keeps its buttons until the outbox updates it: %s", release.version, error
        )
