"""The web app that scores transactions, assembled: its routes, who may ask, and its limits.

Here: HTTP, JSON in and out, OpenAPI, metrics. Not here: scoring (`services/live_scoring.py`) and the limits of heads,
bodies and time (`limits.py`).

No transaction, key or value of a request is ever written to a log of this server: the serving log alone has them.
"""

import hmac
import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.data.request_rows import RowProblem
from fraud_retraining.services.live_scoring import PROBLEMS, Answer, Answers, LiveScorer, NotReady, Reason
from fraud_retraining.serving.limits import HEADERS, Limited, Refusal
from fraud_retraining.serving.unforeseen import Unforeseen, as_json

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

SCORE, BATCH, TRANSACTIONS = "/score", "/score/batch", "/transactions"
HEALTH, READY, METRICS = "/health", "/ready", "/metrics"
KEY_HEADER = "x-api-key"
BYTES_A_ROW = 4_000
"""Bytes of a request for each transaction that it may hold."""
LATENCIES = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)

FULL = Refusal(429, "Too many requests are under way; try again in a moment.")
NOT_JSON = Refusal(415, "Send JSON, with Content-Type: application/json.")
OTHER_HOST = Refusal(403, "Without keys only this machine may ask, as localhost or 127.0.0.1.")
OWN_NAMES = (b"localhost", b"127.0.0.1", b"[::1]")
NO_KEY = Refusal(401, "Send one of the configured keys as X-API-Key.")


class Metrics:
    """What Prometheus reads; of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "scorer_requests_total", "Requests by path and status.", ["path", "status"], registry=self.registry
        )
        self.rows = Counter(
            "scorer_transactions_total", "Transactions by decision.", ["decision"], registry=self.registry
        )
        self.late = Counter(
            "scorer_inexact_state_total",
            "Transactions scored with a state that was late or missing.",
            registry=self.registry,
        )
        self.seconds = Histogram(
            "scorer_request_seconds", "Time of a request.", ["path"], buckets=LATENCIES, registry=self.registry
        )
        self.version = Gauge("scorer_model_version", "The version that scores.", registry=self.registry)
        self.state = Gauge("scorer_state_day", "Last whole day of the state, days since 1970.", registry=self.registry)
        self.waiting = Gauge(
            "scorer_log_rows_waiting", "Answers that are not in the store yet.", registry=self.registry
        )
        self.problems = Gauge(
            "scorer_problems", "What could not be loaded or written, 0 or 1.", ["what"], registry=self.registry
        )

    def read(self, scorer: LiveScorer) -> bytes:
        """All of them as text, with the present state of the scorer."""
        self.version.set(scorer.model_version or 0)
        day = scorer.state_day
        self.state.set((day.toordinal() - 719_163) if day else 0)
        self.waiting.set(scorer.waiting_rows)
        for what in PROBLEMS:
            self.problems.labels(what).set(what in scorer.problems)
        return generate_latest(self.registry)


def build_app(scorer: LiveScorer, mapping: LakeMapping) -> "ASGIApp":
    """The app within its limits."""
    app = FastAPI(title="fraud_retraining scores", version="1", docs_url=None, redoc_url=None)
    # FastAPI's own answer would repeat what was sent.
    app.add_exception_handler(RequestValidationError, _wrong_parameter)
    app.add_middleware(Unforeseen, server="scores", answer=as_json)
    metrics = Metrics()
    _add_scoring(app, scorer, mapping, metrics)
    _add_state(app, scorer, metrics)
    policy = scorer.policy
    many = policy.max_batch * BYTES_A_ROW
    limited = Limited(app, {SCORE: 16 * BYTES_A_ROW, BATCH: many, TRANSACTIONS: many})
    return Guarded(limited, policy.api_keys, policy.max_waiting, metrics)


def _add_scoring(app: FastAPI, scorer: LiveScorer, mapping: LakeMapping, metrics: Metrics) -> None:
    one, several = _schemas(mapping, scorer.policy.max_batch)

    @app.post(SCORE, openapi_extra=_documented(one, "Score"), summary="Score one transaction")
    async def score(request: Request, reasons: bool | None = None) -> Response:
        body = await _json(request)
        if isinstance(body, Response):
            return body
        return _answered(lambda: scorer.score([body], reasons=reasons), metrics, single=True)

    @app.post(BATCH, openapi_extra=_documented(several, "Scores"), summary="Score several transactions")
    async def score_batch(request: Request, reasons: bool | None = None) -> Response:
        rows = await _rows(request, scorer.policy.max_batch)
        if isinstance(rows, Response):
            return rows
        return _answered(lambda: scorer.score(rows, reasons=reasons), metrics, single=False)

    @app.post(TRANSACTIONS, openapi_extra=_documented(several, "Taken"), summary="Take note of transactions")
    async def transactions(request: Request) -> Response:
        rows = await _rows(request, scorer.policy.max_batch)
        if isinstance(rows, Response):
            return rows
        try:
            problems = scorer.add(rows)
        except NotReady as why:
            return _problem(503, str(why))
        return _refused(problems) if problems else JSONResponse({"taken": len(rows)})


def _add_state(app: FastAPI, scorer: LiveScorer, metrics: Metrics) -> None:
    @app.get(HEALTH, summary="Whether this process answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(READY, summary="Whether transactions can be scored", response_model=None)
    async def ready() -> Response:
        loaded = scorer.ready
        content = {
            "ready": loaded,
            "model_version": scorer.model_version,
            "feature_version": scorer.feature_version,
            "thresholds": dict(scorer.thresholds),
            "state_day": scorer.state_day.isoformat() if scorer.state_day else None,
            "problems": scorer.missing,
        }
        return JSONResponse(content, status_code=200 if loaded else 503)

    @app.get(METRICS, summary="Metrics for Prometheus", response_model=None)
    async def read_metrics() -> Response:
        return Response(metrics.read(scorer), media_type=CONTENT_TYPE_LATEST)


# ---------------------------------------------------------------- requests


async def _json(request: Request) -> Any:
    """The body as JSON, or the refusal of it."""
    try:
        return json.loads(await request.body())
    # A number of very many digits is a ValueError too, and a body of brackets a RecursionError.
    except (ValueError, RecursionError):
        return _problem(400, "The body is not JSON.")


async def _rows(request: Request, most: int) -> "list[Any] | Response":
    """The transactions of a body, or the refusal of it."""
    body = await _json(request)
    if isinstance(body, Response):
        return body
    rows = body.get("transactions") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        return _problem(422, 'The body is an object with a list of "transactions".')
    if len(rows) > most:
        return _problem(422, f"A request holds at most {most} transactions.")
    return rows


def _answered(score: Callable[[], Answers], metrics: Metrics, *, single: bool) -> Response:
    try:
        found = score()
    except NotReady as why:
        return _problem(503, str(why))
    if found.problems:
        return _refused(found.problems)
    for answer in found.answers:
        metrics.rows.labels(answer.decision).inc()
        if not answer.state.exact:
            metrics.late.inc()
    about = {"model_version": found.model_version, "feature_version": found.feature_version}
    answers = [answer_document(answer) for answer in found.answers]
    return JSONResponse({**about, **answers[0]} if single else {**about, "scores": answers})


def answer_document(answer: Answer) -> dict[str, Any]:
    """What a client is answered about one transaction, as JSON."""
    day = answer.state.day
    return {
        "transaction_id": answer.transaction_id,
        "score": answer.score,
        "decision": answer.decision,
        "state": {"day": day.isoformat() if day else None, "days_late": answer.state.days_late},
        "features_digest": answer.features_digest,
        **({"reasons": [_reason(one) for one in answer.reasons]} if answer.reasons is not None else {}),
    }


def _reason(reason: Reason) -> dict[str, Any]:
    return reason._asdict()


def _refused(problems: list[RowProblem]) -> Response:
    content = {
        "error": "Rows are no transactions; nothing was scored.",
        "problems": [one._asdict() for one in problems],
    }
    return JSONResponse(content, status_code=422)


async def _wrong_parameter(request: Request, error: Exception) -> Response:
    return _problem(422, "The parameter reasons is true or false.")


def _problem(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status_code=status)


# ---------------------------------------------------------------- OpenAPI


def _schemas(mapping: LakeMapping, most: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON schemas of one transaction and of several, in the lake's own column names."""
    columns = mapping.columns
    keys = {
        part: {
            "type": ["integer", "string", *([] if name in mapping.required_keys else ["null"])],
            "description": "An integer or text, as in the days of the lake.",
        }
        for name, parts in mapping.keys.items()
        for part in parts
    }
    properties: dict[str, Any] = {
        columns.timestamp: {"type": "string", "format": "date-time", "description": "ISO 8601; UTC without a zone."},
        columns.amount: {"type": "number", "minimum": 0},
    }
    properties |= keys
    properties |= {name: {"type": ["number", "boolean", "null"]} for name in mapping.numeric}
    properties |= {name: {"type": ["string", "number", "boolean", "null"]} for name in mapping.categories}
    required = [
        columns.timestamp,
        columns.amount,
        *(part for name in mapping.required_keys for part in mapping.keys[name]),
    ]
    one = {"type": "object", "properties": properties, "required": required}
    several = {
        "type": "object",
        "properties": {"transactions": {"type": "array", "items": one, "maxItems": most}},
        "required": ["transactions"],
    }
    return one, several


TEXT, NUMBER, WHOLE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
ABOUT = {"model_version": WHOLE, "feature_version": TEXT}
ANSWER: dict[str, Any] = {
    "transaction_id": {"type": ["integer", "string"]},
    "score": {"type": "number", "minimum": 0, "maximum": 1, "description": "Probability of fraud."},
    "decision": TEXT,
    "state": {
        "type": "object",
        "description": "The last whole day that the features rest on, and how many days that is too early.",
        "properties": {"day": {"type": ["string", "null"], "format": "date"}, "days_late": WHOLE},
    },
    "features_digest": TEXT,
    "reasons": {
        "type": "array",
        "description": "Features that raised the score the most, with their share of its log-odds.",
        "items": {
            "type": "object",
            "properties": {
                "feature": TEXT,
                "meaning": TEXT,
                "value": {"type": ["number", "string", "null"]},
                "contribution": NUMBER,
            },
        },
    },
}
ERROR: dict[str, Any] = {
    "error": TEXT,
    "problems": {
        "type": "array",
        "items": {"type": "object", "properties": {"row": WHOLE, "field": TEXT, "problem": TEXT}},
    },
}
ANSWERS: dict[str, dict[str, Any]] = {
    "Score": {**ABOUT, **ANSWER},
    "Scores": {**ABOUT, "scores": {"type": "array", "items": {"type": "object", "properties": ANSWER}}},
    "Taken": {"taken": WHOLE},
}


def _documented(schema: Mapping[str, Any], answer: str) -> dict[str, Any]:
    error = {"description": "Refused; says why.", "content": _content(ERROR)}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": dict(schema)}}},
        "responses": {
            "200": {"description": answer, "content": _content(ANSWERS[answer])},
            **dict.fromkeys(("400", "401", "403", "415", "422", "429", "503"), error),
            "413": {"description": "The body is too long.", "content": {"text/plain": {"schema": TEXT}}},
        },
    }


def _content(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "object", "properties": dict(properties)}}}


# ---------------------------------------------------------------- guarding


class Guarded:
    """An app that counts its requests, refuses those beyond a number under way, and asks for a key and for JSON; all
    before a body is read.

    Without keys only this machine may ask, by its own name: a page of a browser there must not. Health, readiness and
    metrics take no key: they say nothing of a transaction.
    """

    def __init__(self, app: "ASGIApp", key_digests: tuple[str, ...], most: int, metrics: Metrics) -> None:
        self._app = app
        self._digests = key_digests
        self._most = most
        self._metrics = metrics
        self._under_way = 0

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] not in (SCORE, BATCH, TRANSACTIONS):
            await self._app(scope, receive, send)
            return
        began, statuses = perf_counter(), [0]

        async def counting(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        self._under_way += 1
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                # The body is still on the line, and would be read as the next request.
                headers = {**HEADERS, "Connection": "close"}
                await JSONResponse({"error": refusal.why}, refusal.status, headers)(scope, receive, counting)
            else:
                await self._app(scope, receive, counting)
        finally:
            self._under_way -= 1
            self._metrics.requests.labels(scope["path"], str(statuses[-1])).inc()
            self._metrics.seconds.labels(scope["path"]).observe(perf_counter() - began)

    def _refusal(self, scope: "Scope") -> Refusal | None:
        if self._under_way > self._most:
            return FULL
        if self._digests:
            key = _header(scope, KEY_HEADER)
            if not any(hmac.compare_digest(sha256(key).hexdigest(), one) for one in self._digests):
                return NO_KEY
        elif _header(scope, "host").rpartition(b":")[0].lower() not in OWN_NAMES:
            return OTHER_HOST
        # A page of another site can send a form without being asked, but not this.
        media = _header(scope, "content-type").partition(b";")[0].strip().lower()
        return None if scope["method"] != "POST" or media == b"application/json" else NOT_JSON


def _header(scope: "Scope", name: str) -> bytes:
    """The value of a header that was sent once; empty otherwise."""
    sent = [value for sent, value in scope["headers"] if sent == name.encode()]
    return sent[0] if len(sent) == 1 else b""
