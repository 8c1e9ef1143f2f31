"""The server of the web app of releases, set up from the settings and the environment.

Not here: what the app answers (`serving/`).
"""

import os

from fraud_retraining.adapters.alerts.slack import SLACK_VARIABLE
from fraud_retraining.adapters.pages.signed_links import LEAST_CHARACTERS, LINK_VARIABLE, ReleaseLinks
from fraud_retraining.commands.implementation.listening import listening_socket
from fraud_retraining.domain.releases.reviewers import PROXY_SECRET_VARIABLE, require_proxy_proof
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.resources import (
    open_ledger,
    open_links,
    open_registry,
    open_store,
    require_signing_key,
)
from fraud_retraining.services.approvals import ReleaseApprovals
from fraud_retraining.serving.release_app import build_app
from fraud_retraining.serving.release_site import LoginProxy, ReleaseSite
from fraud_retraining.serving.slack_actions import Slack
from fraud_retraining.settings import Settings

SIGNING_VARIABLE = "SLACK_SIGNING_SECRET"


def site_of(settings: Settings) -> ReleaseSite:
    """The site of releases that these settings describe."""
    approvals = ReleaseApprovals(open_ledger(settings), open_registry(settings), settings.promotion)
    links: ReleaseLinks | None = open_links(settings)
    return ReleaseSite(approvals, open_store(settings), links, proxy_of(settings), settings.alerts.links)


def proxy_of(settings: Settings) -> LoginProxy | None:
    """The login proxy that is trusted; None where none is configured.

    Raises:
        SettingsError: nothing would distinguish it from any other client that reaches the port.
    """
    policy, secret = settings.promotion, os.environ.get(PROXY_SECRET_VARIABLE, "").strip()
    if policy.proxy_header is None:
        return None
    require_proxy_proof(policy, secret)
    return LoginProxy(policy, secret)


def slack_of(settings: Settings) -> Slack | None:
    """Access to Slack, by which its actions are verified; None where Slack is off or not set up.

    Raises:
        SettingsError: only one of the two secrets is there.
    """
    found = {name: os.environ.get(name, "").strip() for name in (SLACK_VARIABLE, SIGNING_VARIABLE)}
    if settings.alerts.slack is None or not any(found.values()):
        return None
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise SettingsError("Slack's clicks cannot be served", culprits=missing, remedy="set it in the environment.")
    return Slack(found[SLACK_VARIABLE], found[SIGNING_VARIABLE], settings.alerts.slack.api_url)


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until interrupted.

    Raises:
        SettingsError: the address cannot be listened at, or it could not sign what it adds to the ledger.
    """
    import uvicorn

    from fraud_retraining.serving.limits import server_config

    require_signing_key(settings)
    config = server_config(build_app(site_of(settings), slack_of(settings)), host, port)
    with listening_socket(host, port) as listening:
        uvicorn.Server(config).run(sockets=[listening])


def decision_ways(settings: Settings) -> str:
    """A sentence: the ways by which reviewers can decide through this app, and what the other ways lack."""
    header = settings.promotion.proxy_header
    found = (
        ("signed links", bool(open_links(settings)), f"{LINK_VARIABLE}, at least {LEAST_CHARACTERS} characters"),
        (f"the login proxy's header {header}" if header else "a login proxy", bool(header), "promotion.proxy_header"),
        ("Slack", bool(slack_of(settings)), f"{SLACK_VARIABLE} and {SIGNING_VARIABLE}"),
    )
    ready = [name for name, there, _ in found if there]
    lacking = [f"{name} ({needs})" for name, there, needs in found if not there]
    sentence = f"reviewers decide by {', '.join(ready)}" if ready else "open for reading; no reviewer can decide"
    return f"{sentence}; not set up: {', '.join(lacking)}" if lacking else sentence
