"""The fixture of `offices.py`. To be named in a test module's `pytest_plugins`."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from fraud_retraining.adapters.links import ReleaseLinks
from fraud_retraining.adapters.locations import FolderLocation
from fraud_retraining.adapters.notifier import Notifier
from fraud_retraining.adapters.outbox import Outbox
from fraud_retraining.adapters.store import Store
from fraud_retraining.domain.notices import AlertPolicy, LinkPolicy, SlackPolicy
from fraud_retraining.domain.reviewers import Reviewer, ReviewerPolicy
from fraud_retraining.orchestration.release_teller import OutboxTeller
from fraud_retraining.serving.release_app import LoginProxy, Office, build_app
from fraud_retraining.serving.release_app import Slack as SlackSetup
from fraud_retraining.settings import Settings
from fraud_retraining_tests.adapters.desks import World
from fraud_retraining_tests.adapters.people import TOKEN, Slack
from fraud_retraining_tests.serving.offices import ANNA, BERT, PROXY_SECRET, SECRET, SIGNING, Office_


@pytest.fixture
def office(world: World, slack: Slack, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office_]:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path))
    world.policy = ReviewerPolicy(
        reviewers=(Reviewer(name="anna", slack_id=ANNA), Reviewer(name="bert", slack_id=BERT)),
        proxy_header="X-Login",
        proxy_peers=("127.0.0.0/8",),
    )
    links = ReleaseLinks(SECRET, hours=24)
    store = Store(FolderLocation(tmp_path / "store"), tmp_path / "scratch")
    app = build_app(
        Office(world.desk, store, links, LoginProxy(world.policy, PROXY_SECRET), LinkPolicy()),
        SlackSetup(TOKEN, SIGNING, slack.url),
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    policy = AlertPolicy(
        slack=SlackPolicy(api_url=slack.url), links=LinkPolicy(releases=f"http://127.0.0.1:{port}/releases")
    )
    settings = Settings(
        alerts=policy,
        promotion={"reviewers": [one.model_dump() for one in world.policy.reviewers]},
        model={"name": world.ledger.model},
    )
    outbox = Outbox(world.ledger._url, model=world.ledger.model)
    teller = OutboxTeller(settings, world.ledger, outbox, store, links)
    notifier = Notifier(policy, tmp_path, {"SLACK_BOT_TOKEN": TOKEN}, links)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        yield Office_(world, slack, http, teller, outbox, notifier, policy, links)
    server.should_exit = True
    thread.join(20)
