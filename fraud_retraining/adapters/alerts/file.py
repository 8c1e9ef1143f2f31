"""The file of alerts and the log, which take what nothing else can be reached for."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fraud_retraining.adapters.alerts.destination import Destination, Receipt, SendingMeans, Undelivered
from fraud_retraining.adapters.alerts.records import Delivery
from fraud_retraining.adapters.storage.private_files import private_file
from fraud_retraining.domain.alerts.failures import Severity
from fraud_retraining.domain.alerts.file import FileComposer, file_entry
from fraud_retraining.domain.alerts.notices import FILE, Action, AlertPolicy
from fraud_retraining.domain.values.redaction import redact

ALERT_FILE = "alerts.jsonl"
LOG = logging.getLogger("fraud_retraining.alerts")
LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.MEDIUM: logging.WARNING,
    Severity.HIGH: logging.ERROR,
    Severity.CRITICAL: logging.ERROR,
}


class FileDestination(FileComposer, Destination):
    """One line a message, for any destination that it was meant for."""

    title = "File"

    def summary(self, policy: AlertPolicy) -> str:
        """The name of the file."""
        return ALERT_FILE

    def send(self, delivery: Delivery, means: SendingMeans) -> Receipt:
        """Writes a message to the file and to the log; the change of a message is no line of its own."""
        file = means.home / ALERT_FILE
        if delivery.action is not Action.UPDATE:
            text = str(delivery.body.get("text") or delivery.body.get("resolved") or "")
            entry = {**file_entry(delivery.notice), "text": redact(text)} if text else file_entry(delivery.notice)
            about = {"action": delivery.action, "key": delivery.notice.key, "destination": delivery.destination}
            _append(file, {"at": datetime.now(UTC).isoformat(timespec="seconds"), **about, **entry})
            level = LEVELS[delivery.notice.severity] if delivery.action is Action.OPEN else logging.INFO
            LOG.log(level, "%s", text if delivery.action is not Action.OPEN and text else delivery.notice.title)
        return {FILE: str(file)}


def forget_links(home: Path) -> None:
    """Takes signed links out of the file of alerts, where versions before this one wrote them."""
    file = home / ALERT_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except OSError as error:
        LOG.error("%s cannot be searched for signed links: %s", file, error)
        return
    if "?link=" in text:
        fresh = private_file(file.with_suffix(".new"))
        fresh.write_text(redact(text), encoding="utf-8")
        # One rename: a process that dies meanwhile leaves the old file or the new one.
        fresh.replace(file)


def _append(file: Path, entry: Mapping[str, Any]) -> None:
    line = json.dumps(entry) + "\n"
    try:
        with private_file(file).open("a", encoding="utf-8") as lines:
            lines.write(line)
    except OSError as error:
        raise Undelivered(f"{file} cannot be written: {error}") from error
