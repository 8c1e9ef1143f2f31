"""The server of the web app: the ways to decide that it announces, and a port that is taken."""

import socket
from pathlib import Path

import pytest

from fraud_retraining.adapters.pages.signed_links import LINK_VARIABLE
from fraud_retraining.commands.implementation.approvals_server import decision_ways, serve
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.settings import Settings


@pytest.fixture(autouse=True)
def no_way_to_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path))
    for name in (LINK_VARIABLE, "SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRET"):
        monkeypatch.delenv(name, raising=False)


def test_the_ways_to_decide_are_named_and_what_the_others_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decision_ways(Settings()) == (
        "open for reading; no reviewer can decide; not set up: signed links (RELEASES_LINK_SECRET, at least 32 "
        "characters), a login proxy (promotion.proxy_header), Slack (SLACK_BOT_TOKEN and SLACK_SIGNING_SECRET)"
    )
    monkeypatch.setenv(LINK_VARIABLE, "x" * 32)
    assert decision_ways(Settings()).startswith("reviewers decide by signed links; not set up: a login proxy")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen at 127.0.0.1, port {port}") as refused:
            serve(Settings(), "127.0.0.1", port)
    assert "--port" in refused.value.remedy
