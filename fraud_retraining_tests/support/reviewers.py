"""Slack and PagerDuty on loopback: real HTTP servers that answer as the real ones do, or refuse as a test wants."""

import hashlib
import hmac
import json
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

TOKEN = "xoxb-1-the-bots-token"
ROUTING_KEY = "r" * 31 + "7"
CHANNELS = ("#data-quality", "#ml-alerts", "#ml-oncall")

Answer = tuple[int, dict[str, str], bytes]


def limits_of(blocks: list[dict[str, Any]]) -> list[str]:
    """Every limit of Block Kit that the blocks exceed."""
    problems = ["more than 50 blocks"] if len(blocks) > 50 else []
    for block in blocks:
        if block["type"] == "actions":
            labels = [one["text"]["text"] for one in block["elements"]]
            problems += [f"button: {label}" for label in labels if not 0 < len(label) <= 75]
            continue
        texts = [block["text"]] if "text" in block else []
        texts += block.get("fields", []) + [one for one in block.get("elements", []) if "text" in one]
        most = {"header": 150, "section": 3000, "context": 3000}[block["type"]]
        most = 2000 if "fields" in block else most
        problems += [f"{block['type']}: {len(text['text'])}" for text in texts if not 0 < len(text["text"]) <= most]
        if len(block.get("fields", [])) > 10 or len(block.get("elements", [])) > 10:
            problems.append(f"{block['type']}: too many parts")
    return problems


class Server:
    """An HTTP server that keeps the requests, and answers next what a test has put into `faults`."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[Answer] = []
        self.raw = b""
        self.is_down = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.raw = self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}"
                body = json.loads(outer.raw)
                outer.requests.append((self.path, body))
                if outer.is_down:
                    self.close_connection = True
                    return
                status, headers, content = (
                    outer.faults.pop(0) if outer.faults else outer.answer(self.path, body, self.headers)
                )
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path: str, body: dict[str, Any], headers: Any) -> Answer:
        raise NotImplementedError

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, status: int, headers: dict[str, str] | None = None, times: int = 1, body: bytes = b"oops") -> None:
        self.faults += [(status, headers or {}, body)] * times


def as_json(value: dict[str, Any], status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


class Slack(Server):
    """Channels with messages and threads."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    def answer(self, path: str, body: dict[str, Any], headers: Any) -> Answer:
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refusal("invalid_auth")
        if limits_of(body.get("blocks", [])):
            return self._refusal("invalid_blocks")
        methods = {"/api/chat.postMessage": self._post, "/api/chat.update": self._update, "/api/views.open": self._open}
        return methods[path](body)

    def _refusal(self, error: str) -> Answer:
        return as_json({"ok": False, "error": error})

    def _post(self, body: dict[str, Any]) -> Answer:
        named = {channel: f"C{number}" for number, channel in enumerate(CHANNELS)}
        channel = named.get(body["channel"], body["channel"])
        if channel not in named.values() and not channel.startswith("U"):
            return self._refusal("channel_not_found")
        ts = f"1700000000.{len(self.messages):06d}"
        self.messages.append({**body, "channel": channel, "ts": ts})
        return as_json({"ok": True, "channel": channel, "ts": ts, "message": {}})

    def _update(self, body: dict[str, Any]) -> Answer:
        for message in self.messages:
            if (message["channel"], message["ts"]) == (body["channel"], body["ts"]):
                message.update(body)
                return as_json({"ok": True, "channel": body["channel"], "ts": body["ts"]})
        return self._refusal("message_not_found")

    def _open(self, body: dict[str, Any]) -> Answer:
        self.views.append(body["view"])
        return as_json({"ok": True, "view": {"id": "V1"}})

    def direct(self, user: str) -> list[str]:
        """The direct messages to a user."""
        return [one["text"] for one in self.messages if one["channel"] == user]

    def shown(self, channel: str) -> list[dict[str, Any]]:
        """The messages of a channel, without those in threads."""
        number = f"C{CHANNELS.index(channel)}"
        return [one for one in self.messages if one["channel"] == number and "thread_ts" not in one]

    def thread(self, message: dict[str, Any]) -> list[str]:
        return [one["text"] for one in self.messages if one.get("thread_ts") == message["ts"]]


class PagerDuty(Server):
    """Incidents by key."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context)
        self.incidents: dict[str, str] = {}
        self.triggered: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def answer(self, path: str, body: dict[str, Any], headers: Any) -> Answer:
        problems = [] if path == "/v2/enqueue" and body.get("routing_key") == ROUTING_KEY else ["who are you"]
        if not 0 < len(body.get("dedup_key", "")) <= 255:
            problems.append("dedup_key")
        if body["event_action"] == "trigger":
            payload = body["payload"]
            known = {"critical", "error", "warning", "info"}
            problems += [] if 0 < len(payload["summary"]) <= 1024 and payload["severity"] in known else ["payload"]
            problems += [] if payload["source"] and len(json.dumps(body)) < 512_000 else ["payload"]
        if problems:
            return as_json({"status": "invalid event", "errors": problems}, 400)
        if body["event_action"] == "trigger":
            self.triggered.append(body)
        self.incidents[body["dedup_key"]] = "resolved" if body["event_action"] == "resolve" else "triggered"
        return as_json({"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]}, 202)


class Receiver(Server):
    """A program that takes webhooks: it checks who sent them, and does nothing twice."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret
        self.taken: dict[str, dict[str, Any]] = {}
        self.forgets_to_answer = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/fraud?team=7"

    @property
    def events(self) -> list[str]:
        return [one["event"] for one in self.taken.values()]

    def answer(self, path: str, body: dict[str, Any], headers: Any) -> Answer:
        sent_at = headers["X-Fraud-Retraining-Timestamp"]
        signed = hmac.new(self.secret.encode(), f"{sent_at}.".encode() + self.raw, hashlib.sha256).hexdigest()
        if path != "/hooks/fraud?team=7" or not hmac.compare_digest(
            headers["X-Fraud-Retraining-Signature"], f"v1={signed}"
        ):
            return as_json({"error": "bad signature"}, 401)
        if abs(time.time() - int(sent_at)) > 300 or headers["Idempotency-Key"] != body["idempotency_key"]:
            return as_json({"error": "stale"}, 401)
        self.taken[body["idempotency_key"]] = body
        if self.forgets_to_answer:
            self.forgets_to_answer -= 1
            return 503, {}, b""
        return 204, {}, b""


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A context for a server at 127.0.0.1, and the file of the certificate to trust."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    start = datetime.now(UTC) - timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / "certificate.pem", folder / "key.pem"
    trusted.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return context, trusted


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.at

    def advance(self, **by: float) -> None:
        self.at += timedelta(**by)
