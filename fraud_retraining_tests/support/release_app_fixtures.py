"""The fixture of `release_apps.py`. To be named in a test module's `pytest_plugins`."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.pages.signed_links import ReleaseLinks
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.notices import AlertPolicy, LinkPolicy, SlackPolicy
from fraud_retraining.domain.releases.reviewers import Reviewer, ReviewerPolicy
from fraud_retraining.orchestration.release_notifier import OutboxReleaseNotifier
from fraud_retraining.services.approvals import ReleaseApprovals
from fraud_retraining.services.delivery import Notifier
from fraud_retraining.services.release_messages import ReleaseMessages
from fraud_retraining.serving.limits import server_config
from fraud_retraining.serving.release_app import build_app
from fraud_retraining.serving.release_site import LoginProxy, ReleaseSite
from fraud_retraining.serving.slack_actions import Slack as SlackSetup
from fraud_retraining.settings import Settings
from fraud_retraining_tests.support.approvals_fixture import Backend
from fraud_retraining_tests.support.ledger_history import with_history
from fraud_retraining_tests.support.release_apps import (
    ANNA,
    BERT,
    PROXY_SECRET,
    SECRET,
    SIGNING,
    Reviewed_,
    Site_,
)
from fraud_retraining_tests.support.reviewers import TOKEN, Slack


@pytest.fixture
def site(backend: Backend, slack: Slack, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site_]:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path))
    backend.policy = ReviewerPolicy(
        reviewers=(Reviewer(name="anna", slack_id=ANNA), Reviewer(name="bert", slack_id=BERT)),
        proxy_header="X-Login",
        proxy_peers=("127.0.0.0/8",),
    )
    links = ReleaseLinks(SECRET, hours=24)
    store = Store(FolderLocation(tmp_path / "store"), tmp_path / "scratch")
    app = build_app(
        ReleaseSite(backend.approvals, store, links, LoginProxy(backend.policy, PROXY_SECRET), LinkPolicy()),
        SlackSetup(TOKEN, SIGNING, slack.url),
    )
    with served(app) as address:
        policy = AlertPolicy(slack=SlackPolicy(api_url=slack.url), links=LinkPolicy(releases=f"{address}/releases"))
        settings = Settings(
            alerts=policy,
            promotion={"reviewers": [one.model_dump() for one in backend.policy.reviewers]},
            model={"name": backend.ledger.model},
        )
        outbox = Outbox(backend.ledger._url, model=backend.ledger.model)
        release_notifier = OutboxReleaseNotifier(settings, backend.ledger, outbox, store, links)
        releases = ReleaseMessages(backend.ledger, store, backend.policy, policy.links, links)
        notifier = Notifier(policy, tmp_path, {"SLACK_BOT_TOKEN": TOKEN}, releases)
        with httpx.Client(base_url=address, timeout=60) as http:
            yield Site_(backend, slack, http, release_notifier, outbox, notifier, policy, links)


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewed_]:
    """Versions with whole review reports: 1 serves, 4 waits and is decided by anna or bert."""
    folder = tmp_path_factory.mktemp("reviewed")
    store = Store(FolderLocation(folder / "store"), folder / "scratch")
    ledger = with_history(Ledger(f"sqlite:///{folder}/ledger.db"), store)
    links = ReleaseLinks(SECRET, hours=24)
    reviewers = (Reviewer(name="anna"), Reviewer(name="bert"))
    policy = ReviewerPolicy(reviewers=reviewers, proxy_header="X-Login", proxy_peers=("127.0.0.0/8",))
    shown = LinkPolicy(mlflow="http://127.0.0.1:5000")
    approvals = ReleaseApprovals(ledger, Registry(f"sqlite:///{folder}/mlflow.db", "e", ledger.model), policy)
    site = ReleaseSite(approvals, store, links, LoginProxy(policy, PROXY_SECRET), shown)
    with served(build_app(site, SlackSetup(TOKEN, SIGNING, "http://127.0.0.1:9/"))) as address:
        yield Reviewed_(address, ledger, store, links)


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An app on a free port, and its address."""
    server = uvicorn.Server(server_config(app, "127.0.0.1", 0))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
