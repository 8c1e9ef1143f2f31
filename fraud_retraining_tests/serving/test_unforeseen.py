"""An error that nobody foresaw has a name, for the client and in the log, and repeats nothing of the request."""

import asyncio

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from fraud_retraining.serving.limits import Limited
from fraud_retraining.serving.release_app import build_app
from fraud_retraining.serving.unforeseen import Unforeseen, as_json, as_text

SECRET = "4111-1111-1111-1111"


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    app.add_middleware(Unforeseen, server="scores", answer=as_json)

    @app.post("/lookup")
    async def lookup(request: Request) -> str:
        try:
            return {"known": "yes"}[(await request.json())["key"]]
        except KeyError as error:
            # The one that it came from repeats the value too.
            raise ValueError(f"no such key {SECRET}") from error

    return TestClient(Limited(app, {}))


def test_it_is_answered_by_name_and_neither_answer_nor_log_repeats_the_request(
    client: TestClient, caplog: pytest.LogCaptureFixture
):
    answer = client.post("/lookup", json={"key": SECRET})
    assert answer.status_code == 500 and "ValueError at test_unforeseen.py:" in answer.json()["error"]
    name = answer.json()["error"].split(": ")[1].split(";")[0]
    assert f"not foreseen: {name}" in caplog.text and "in lookup" in caplog.text
    assert SECRET not in caplog.text + answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_what_is_foreseen_stays_as_it_is(client: TestClient):
    assert client.post("/lookup", json={"key": "known"}).json() == "yes"
    assert client.post("/nowhere").status_code == 404


def test_an_answer_that_has_begun_is_cut_off():
    sent = []

    async def half(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(SECRET)

    async def send(message) -> None:
        sent.append(message["type"])

    with pytest.raises(ConnectionAbortedError) as cut:
        asyncio.run(Unforeseen(half, "releases", as_text)({}, None, send))
    assert "ValueError at test_unforeseen.py:" in str(cut.value) and SECRET not in str(cut.value)
    assert sent == ["http.response.start"]


def test_the_pages_of_releases_name_it_too(caplog: pytest.LogCaptureFixture):
    class Broken:
        def __getattr__(self, name: str) -> None:
            raise KeyError(SECRET)

    # The server sees no error: it would log the message.
    client = TestClient(build_app(Broken(), None))
    answer = client.get("/")
    assert answer.status_code == 500 and "KeyError at test_unforeseen.py:" in answer.text
    assert "not foreseen: KeyError" in caplog.text
    assert SECRET not in caplog.text + answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
