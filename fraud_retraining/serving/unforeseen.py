"""The answer to a request in whose handling something went wrong that nobody foresaw, and what is logged of it.

Here: status 500 with a name that stands in the log too. Not here: failures that have a name already
(`score_app.py`, `release_routes.py`), and limits (`limits.py`).

The message of such an error may repeat what was sent, as that of a KeyError does. So neither the client nor the log
gets it: both get its type and where it was raised, and the log the lines of code that led there.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb, format_list
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


def as_json(why: str) -> Response:
    """The answer of the scorer."""
    return JSONResponse({"error": why}, 500)


def as_text(why: str) -> Response:
    """The answer of the pages of releases."""
    return PlainTextResponse(why, 500)


class Unforeseen:
    """An app whose unforeseen errors are answered by name, and logged under the name of its server.

    To be added as a middleware: around the whole app, Starlette would have answered already, without a name, and
    have given the error on to the server, which logs its message.
    """

    def __init__(self, app: "ASGIApp", server: str, answer: Callable[[str], Response]) -> None:
        self._app = app
        self._log = logging.getLogger(f"fraud_retraining.{server}")
        self._answer = answer

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        began = False

        async def watched(message: Any) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 (answered and logged, without its message)
            name = name_of(error)
            self._log.error(
                "not foreseen: %s\n%s", name, "".join(format_list(extract_tb(error.__traceback__))).rstrip()
            )
            if began:
                # What was sent so far is cut off, so that the client sees that it is incomplete.
                raise ConnectionAbortedError(name) from None
            why = f"not foreseen: {name}; the log of this server has the lines that led there. Nothing was answered."
            await self._answer(why)(scope, receive, send)


def name_of(error: BaseException) -> str:
    """The type of an error, and the line that raised it; nothing of its message.

    >>> try:
    ...     {}["4111-1111"]
    ... except KeyError as error:
    ...     name_of(error).startswith("KeyError at ")
    True
    """
    frames = extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
