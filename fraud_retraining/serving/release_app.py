"""The web app of releases, assembled: the pages, Slack's actions, and the limits around both.

Reading is open to every client that reaches the app; deciding needs a signed one-time link, the header of a configured
login proxy, or an action in Slack whose signature verifies. Not here: the answers (`release_routes.py`,
`slack_actions.py`) and what a decision does (`services/approvals.py`).
"""

from typing import TYPE_CHECKING

from fraud_retraining.serving import release_routes
from fraud_retraining.serving.limits import Limited
from fraud_retraining.serving.release_site import ReleaseSite
from fraud_retraining.serving.slack_actions import Slack, slack_endpoint

if TYPE_CHECKING:
    from starlette.types import ASGIApp

SLACK_ACTIONS = "/slack/actions"
SLACK_BYTES = 1_000_000
"""Most bytes of an action in Slack, which carries the whole message."""


def build_app(site: ReleaseSite, slack: Slack | None) -> "ASGIApp":
    """The app within its limits; without `slack` it serves the pages alone."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import Route

    from fraud_retraining.serving.unforeseen import Unforeseen, as_text

    routes = release_routes.routes(site)
    if slack is not None:
        routes.append(Route(SLACK_ACTIONS, slack_endpoint(site, slack), methods=["POST"]))
    named = Middleware(Unforeseen, server="releases", answer=as_text)
    app = Starlette(routes=routes, exception_handlers=release_routes.exception_handlers(), middleware=[named])
    return Limited(app, {SLACK_ACTIONS: SLACK_BYTES})
