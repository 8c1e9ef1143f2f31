"""The answer to a request in whose handling something went wrong that nobody foresaw, and what is logged of it.

Here: status 500 with a name that stands in the log too. Not here: failures that have a name already
(`score_app.py`), and limits (`limits.py`).

The message of such an error may repeat what was sent, as that of a KeyError does. So neither the client nor the log
gets it: both get its type and where it was raised, and the log the lines of code that led there.
"""

import logging
from pathlib import Path
from traceback import extract_tb, format_list
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

LOG = logging.getLogger("fraud_retraining.scores")


class Unforeseen:
    """An app whose unforeseen errors are answered by name.

    To be added as a middleware: around the whole app, Starlette would have answered already, without a name, and
    have given the error on to the server, which logs its message.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

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
            LOG.error("not foreseen: %s\n%s", name, "".join(format_list(extract_tb(error.__traceback__))).rstrip())
            if began:
                # What was sent so far is cut off, so that the client sees that it is incomplete.
                raise ConnectionAbortedError(name) from None
            why = f"not foreseen: {name}; the log of this server has the lines that led there. Nothing was answered."
            await JSONResponse({"error": why}, 500)(scope, receive, send)


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
