"""A Redis server that scorers share: connecting, limits of time, and what every failure of it means.

Here: clients, and errors in our words. Not here: what is kept in it (`redis_layout.py`, `redis_states.py`).

A server that was started again may have lost its last writes, also where it keeps them on disk. Each start has another
id, which is looked up by every new connection.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from fraud_retraining.domain.values.errors import DependencyUnreachable, SettingsError
from fraud_retraining.domain.values.redaction import redact

PASSWORD_VARIABLE = "REDIS_PASSWORD"
BULK_SECONDS = 10.0
PAUSE_SECONDS = 0.25
"""After a failure nobody asks for so long: each request would wait for its timeout, one after the other."""


class RedisServer:
    """A server at an address like `redis://host:6379/0`, or `rediss://` for TLS.

    Args:
        url: address with the number of a database and perhaps a user; the password comes from the environment.
        timeout_seconds: longest that connecting, and each answer, may take.

    Raises:
        SettingsError: the library is not installed.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        try:
            import redis
        except ImportError:
            raise SettingsError(
                "serving.state_store is redis, and its library is not installed",
                remedy='install it: pip install "fraud-retraining[redis]".',
            ) from None
        self._errors = redis
        parts = urlsplit(url)
        self.address = f"Redis at {parts.hostname}:{parts.port or 6379}"
        self.run_id: str | None = None
        """The id of the server's start, as the last connection found it."""
        self._failed: tuple[float, str] | None = None
        """When it last did not answer, and why; None where it answered since."""
        self._url, self._user, self._password = url, parts.username, os.environ.get(PASSWORD_VARIABLE)
        self.quick = self._client(timeout_seconds)
        self.bulk = self._client(max(BULK_SECONDS, timeout_seconds))
        """Another client, for what takes long and nobody waits for."""

    def _client(self, seconds: float) -> Any:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return Redis.from_url(
            self._url,
            username=unquote(self._user) if self._user else None,
            password=self._password,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            # A connection that the server closed is opened again, once; one that is late is not waited for twice.
            retry=Retry(NoBackoff(), 1, supported_errors=(self._errors.ConnectionError,)),
            redis_connect_func=self._connected,
        )

    def _connected(self, connection: Any) -> None:
        connection.on_connect()
        connection.send_command("INFO", "server")
        said = connection.read_response()
        text = said.decode() if isinstance(said, bytes) else str(said)
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        self.run_id = fields.get("run_id")

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Failures of the server in our words.

        Raises:
            DependencyUnreachable: it did not answer in time, or refused; or it did so a moment ago.
        """
        if self._failed is not None and time.monotonic() - self._failed[0] < PAUSE_SECONDS:
            # In the words of the failure itself: who logs what is new would log two that take turns for ever.
            raise self._unreachable(self._failed[1])
        try:
            yield
        except (self._errors.ConnectionError, self._errors.TimeoutError) as error:
            self._failed = time.monotonic(), self._said(error)
            raise self._unreachable(self._failed[1]) from None
        except self._errors.RedisError as error:
            raise self._unreachable(self._said(error)) from None
        self._failed = None

    def _unreachable(self, why: str) -> DependencyUnreachable:
        return DependencyUnreachable(
            f"{self.address} does not answer as it should",
            culprits=[why],
            remedy="see that it runs and can be reached; scoring goes on by itself.",
        )

    def _said(self, error: Exception) -> str:
        text = redact(f"{type(error).__name__}: {error}")
        return text.replace(self._password, "***") if self._password else text

    def check(self) -> None:
        """Hold the server's settings against what a shared state needs.

        Raises:
            SettingsError: it drops keys when its memory is full, or is a cluster; names everything.
        """
        with self.asking():
            about = self.bulk.info()
        problems = []
        if about.get("redis_mode") == "cluster":
            problems.append("it is a cluster: states and transactions have to lie on one server")
        if about.get("maxmemory", 0) and about.get("maxmemory_policy") != "noeviction":
            problems.append(f"maxmemory-policy is {about.get('maxmemory_policy')}: keys would vanish unseen")
        if problems:
            raise SettingsError(
                f"{self.address} cannot keep the state of scorers",
                culprits=problems,
                remedy="set maxmemory-policy noeviction on one server, or serving.state_store: file.",
            )

    def scripted(self, script: "Script", calls: Sequence[Sequence[Any]]) -> list[Any]:
        """The answers of a script to several calls, each in one step; a key first, then arguments.

        Raises:
            DependencyUnreachable: as `asking`.
            ScriptError: the script itself refused a call; the message is its own.
        """
        with self.asking():
            try:
                return self._run(script, calls)
            except self._errors.ResponseError as error:
                if script.own_error in str(error):
                    raise ScriptError(str(error)) from None
                raise

    def _run(self, script: "Script", calls: Sequence[Sequence[Any]]) -> list[Any]:
        try:
            return self._sent(script, calls)
        except self._errors.exceptions.NoScriptError:
            self.quick.script_load(script.text)
            return self._sent(script, calls)

    def _sent(self, script: "Script", calls: Sequence[Sequence[Any]]) -> list[Any]:
        if len(calls) == 1:
            return [self.quick.evalsha(script.digest, 1, *calls[0])]
        with self.quick.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.evalsha(script.digest, 1, *call)
            return pipeline.execute()

    def exchanged(self, keys: Sequence[str], change: Callable[[Any], None]) -> None:
        """Change keys in one step, again and again until none of them was changed by another meanwhile.

        `change` gets a pipeline: it reads, calls `multi`, and writes.

        Raises:
            DependencyUnreachable: as `asking`.
        """
        with self.asking():
            self.bulk.transaction(change, *keys)


class ScriptError(Exception):
    """A script refused a call."""


class Script:
    """A script, and the text by which its own errors are known."""

    def __init__(self, text: str, own_error: str) -> None:
        from hashlib import sha1

        self.text = text
        self.own_error = own_error
        # The name by which Redis knows a script; no protection.
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()
