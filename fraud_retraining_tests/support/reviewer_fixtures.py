"""Fixtures of `reviewers.py`. To be named in a test module's `pytest_plugins`."""

from collections.abc import Iterator

import pytest

from fraud_retraining_tests.support.reviewers import Clock, PagerDuty, Slack, certified


@pytest.fixture
def slack() -> Iterator[Slack]:
    server = Slack()
    yield server
    server.close()


@pytest.fixture
def pagerduty(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[PagerDuty]:
    """PagerDuty over TLS, with a certificate that this process trusts."""
    context, trusted = certified(tmp_path_factory.mktemp("tls"))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    server = PagerDuty(context)
    yield server
    server.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()
