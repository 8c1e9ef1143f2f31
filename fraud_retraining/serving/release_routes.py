"""The pages of releases over HTTP: list, one version with its form, pictures, and the decision that a form sends.

Not here: how a page looks (`adapters/pages/html.py`), and what is kept and recorded (`release_site.py`).
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from fraud_retraining.adapters.pages.html import DecisionForm, answer_html, release_html, releases_html
from fraud_retraining.adapters.pages.pictures import SHADOW, picture_names
from fraud_retraining.adapters.pages.review_pictures import pictures_key, shadow_key
from fraud_retraining.domain.audit.history import ReleaseHistory
from fraud_retraining.domain.releases.release import MOST_VERSION, Decision, Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import identify_by_link, identify_by_proxy
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
from fraud_retraining.serving.release_site import DecisionBinding, ReleaseSite

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

PAGE = "page"
"""The channel of these decisions in the ledger."""
FIELDS = 20
"""Most fields of a form."""
STATUS: Mapping[type[RetrainingError], int] = {
    NotPermitted: 403,
    SettingsError: 400,
    Conflict: 409,
    GateFailed: 409,
    IntegrityError: 409,
    DependencyUnreachable: 503,
}
FOR_EVER = "private, max-age=31536000, immutable"
"""Caching of a picture, whose address changes with its content."""


def routes(site: ReleaseSite) -> "list[BaseRoute]":
    """The routes of the pages."""
    from starlette.routing import Route

    return [
        Route("/", lambda request: _redirect(), methods=["GET"]),
        Route("/favicon.ico", lambda request: _no_icon(), methods=["GET"]),
        Route("/releases", _read_endpoint(site, _list_page), methods=["GET"]),
        Route("/releases/{version}", _read_endpoint(site, _version_page), methods=["GET"]),
        Route("/releases/{version}", _decision_endpoint(site), methods=["POST"]),
        Route("/releases/{version}/pictures/{key}/{name}.png", _picture_endpoint(site), methods=["GET"]),
    ]


def exception_handlers() -> dict[Any, Any]:
    """Answers to addresses and methods that there are none of."""
    return {
        404: _answer_handler("There is no such page", 404),
        405: _answer_handler("That cannot be done here", 405),
    }


def thanks(release: Release) -> str:
    """The answer to a reviewer whose decision was recorded."""
    if release.state is ReleaseState.AWAITING_APPROVAL:
        return f"{release.first_approval_by} approved; a second reviewer has to approve too."
    return f"Decided by {release.decided_by}, {release.decided_via}."


def _answer_handler(title: str, status: int) -> Any:
    async def endpoint(request: "Request", error: Exception) -> "Response":
        return _html(answer_html(title, "The releases are all there is to see."), status)

    return endpoint


def _redirect() -> "Response":
    from starlette.responses import RedirectResponse

    return RedirectResponse("/releases")


def _no_icon() -> "Response":
    """The empty answer to the icon that browsers request beside every page."""
    from starlette.responses import Response

    return Response(status_code=204, headers={"Cache-Control": FOR_EVER})


def _html(text: str, status: int = 200) -> "Response":
    from starlette.responses import HTMLResponse

    return HTMLResponse(text, status_code=status)


def _refused(error: RetrainingError) -> "Response":
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return _html(answer_html("That was not done", str(error)), status)


def _read_endpoint(site: ReleaseSite, page: Callable[[ReleaseSite, "Request"], str]) -> Any:
    """An endpoint that only reads; in a thread, since the database blocks."""

    async def endpoint(request: "Request") -> "Response":
        from starlette.concurrency import run_in_threadpool

        try:
            return _html(await run_in_threadpool(page, site, request))
        except Conflict as error:
            return _html(answer_html("There is no such version", str(error)), 404)
        except RetrainingError as error:
            return _refused(error)

    return endpoint


def _list_page(site: ReleaseSite, request: "Request") -> str:
    releases = sorted(site.ledger.releases(), key=lambda release: -release.version)
    return releases_html(site.approvals.pending(), releases)


def _version_page(site: ReleaseSite, request: "Request") -> str:
    version, token, login = _version(request), request.query_params.get("link", ""), site.login(request)
    if not token and login is None:
        return site.page(version, lambda history, review_report: _release_page(site, history, review_report, None))
    history, review_report = site.history(version)
    return _release_page(site, history, review_report, _decision_form(site, history, token, login))


def _release_page(
    site: ReleaseSite, history: ReleaseHistory, review_report: ReviewReport | None, form: DecisionForm | None
) -> str:
    judged, shadow = history.evaluation, history.shadow
    folder = f"/releases/{history.release.version}/pictures"
    pictures: dict[str, str] = {}
    if judged is not None and review_report is not None:
        pictures |= {name: f"{folder}/{pictures_key(judged)}/{name}.png" for name in picture_names(review_report)}
    if shadow is not None and shadow.intervals is not None:
        pictures[SHADOW] = f"{folder}/{shadow_key(shadow)}/{SHADOW}.png"
    return release_html(history, review_report, form, site.addresses, pictures)


def _picture_endpoint(site: ReleaseSite) -> Any:
    """An endpoint of pictures, which a browser may keep: the address names the digest."""

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


def _decision_form(site: ReleaseSite, history: ReleaseHistory, token: str, login: str | None) -> DecisionForm | None:
    """The form, for a reviewer who may decide, while the version waits."""
    if history.release.state is not ReleaseState.AWAITING_APPROVAL:
        return None
    link = site.link(token)
    if link is not None:
        return DecisionForm(who=link.reviewer, link=token) if link.version == history.release.version else None
    return DecisionForm(who=login, link="") if login else None


def _decision_endpoint(site: ReleaseSite) -> Any:
    async def endpoint(request: "Request") -> "Response":
        from starlette.concurrency import run_in_threadpool

        body = await request.body()
        try:
            version, fields = _version(request), form_fields(body)
        except (Conflict, SettingsError) as error:
            return _html(answer_html("That was not done", str(error)), 404 if isinstance(error, Conflict) else 400)
        try:
            release = await run_in_threadpool(_record_decision, site, request, version, fields)
        except NotPermitted as error:
            return _refused(error)
        except SettingsError as error:
            # A reason that is missing: the form comes back with what was typed, instead of a page that loses it.
            return await run_in_threadpool(_form_again, site, request, version, fields, error)
        except RetrainingError as error:
            return _refused(error)
        state = str(release.state).replace("_", " ")
        return _html(answer_html(f"Version {release.version}: {state}", thanks(release)))

    return endpoint


def _version(request: "Request") -> int:
    """The version in an address.

    Raises:
        Conflict: no version has such a number.
    """
    text = str(request.path_params["version"])
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MOST_VERSION)) else 0
    if not 0 < number <= MOST_VERSION:
        raise Conflict("there is no release of such a version", remedy="versions are whole numbers from 1 on.")
    return number


def form_fields(body: bytes) -> dict[str, str]:
    r"""The first value of each field of a form, without unprintable characters.

    >>> form_fields(b"decision=reject&reason=too%00+low&decision=approve")
    {'decision': 'reject', 'reason': 'too low'}

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


def _form_again(
    site: ReleaseSite, request: "Request", version: int, fields: Mapping[str, str], error: SettingsError
) -> "Response":
    """The page once more, with what was typed and what is missing; nothing was decided."""
    try:
        history, review_report = site.history(version)
        form = _decision_form(site, history, fields.get("link", ""), site.login(request))
    except RetrainingError:
        return _refused(error)
    if form is None:
        return _refused(error)
    typed = {"decision": fields.get("decision", ""), "reason": fields.get("reason", ""), "problem": _problem(error)}
    page = _release_page(site, history, review_report, form.model_copy(update=typed))
    return _html(page, STATUS[SettingsError])


def _problem(error: RetrainingError) -> str:
    return ". ".join(part.rstrip(".") for part in (f"Nothing was decided: {error.what}", error.remedy) if part) + "."


def _record_decision(site: ReleaseSite, request: "Request", version: int, fields: Mapping[str, str]) -> Release:
    decision = _decision(fields.get("decision", ""))
    try:
        link = site.link(fields.get("link", ""))
    except NotPermitted as error:
        site.record_forgery(error.what, PAGE)
        raise
    policy, reason = site.approvals.policy, fields.get("reason", "")
    if link is not None:
        if link.version != version:
            raise NotPermitted("the link is for another version", remedy="follow the link as it was sent.")
        with site.approvals.recording_refusals(version, decision, link.reviewer, PAGE):
            identity = identify_by_link(policy, link.reviewer)
        return site.decide(version, decision, identity, reason, PAGE, DecisionBinding(link.digest, link.nonce))
    login = site.login(request)
    if login is None:
        raise NotPermitted("nothing says who you are", remedy="follow your own signed link, or log in by the proxy.")
    _require_same_origin(request)
    with site.approvals.recording_refusals(version, decision, login, PAGE):
        identity = identify_by_proxy(policy, login)
    return site.decide(version, decision, identity, reason, PAGE)


def _decision(text: str) -> Decision:
    try:
        return Decision(text)
    except ValueError:
        raise SettingsError(f"{text[:50]!r} is no decision", remedy="approve or reject.") from None


def _require_same_origin(request: "Request") -> None:
    """Refuse a form that another site sent (CSRF): the proxy's login alone does not prove the reviewer's intention."""
    origin = request.headers.get("origin") or request.headers.get("referer") or ""
    if host_of(origin) != request.headers.get("host"):
        raise NotPermitted("the form was sent from another site", remedy="open the page itself and decide there.")


def host_of(origin: str) -> str | None:
    """Host and port of an address; None where it is no address.

    >>> host_of("https://fraud.example:8443/releases/3"), host_of("http://[broken")
    ('fraud.example:8443', None)
    """
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
