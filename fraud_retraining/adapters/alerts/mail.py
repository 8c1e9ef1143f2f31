"""E-mail over SMTP, always within TLS: from the first byte, or from STARTTLS on.

A mail counts as sent once the server has taken its content; nothing after that can make it be sent again. Where the
server takes it and its answer is lost, the mail is sent once more under the same Message-ID.
"""

import smtplib
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

from fraud_retraining.adapters.alerts.destination import (
    Destination,
    Receipt,
    SendingMeans,
    Undelivered,
    ended_after,
    hang_up,
    require_form,
)
from fraud_retraining.adapters.alerts.records import Delivery
from fraud_retraining.domain.alerts.failures import Severity
from fraud_retraining.domain.alerts.mail import EmailComposer
from fraud_retraining.domain.alerts.notices import Action, AlertPolicy, EmailPolicy
from fraud_retraining.domain.alerts.text import clean
from fraud_retraining.domain.values.digests import digest

USER_VARIABLE, PASSWORD_VARIABLE = "ALERTS_SMTP_USER", "ALERTS_SMTP_PASSWORD"
LONGEST_LINE = 250


class EmailDestination(EmailComposer, Destination):
    """Addresses, each with a thread of its own a notice."""

    title = "E-mail"

    def variables(self, policy: AlertPolicy) -> tuple[str, ...]:
        """User and password, where the server requires them."""
        return (USER_VARIABLE, PASSWORD_VARIABLE) if policy.email is None or policy.email.login else ()

    def unfit(self, policy: AlertPolicy, environment: Mapping[str, str]) -> tuple[str, ...]:
        """What cannot be sent as user or password."""
        secrets = {name: environment.get(name, "") for name in self.variables(policy)}
        return tuple(
            f"{name} holds characters that SMTP cannot send" for name, one in secrets.items() if not one.isascii()
        )

    def summary(self, policy: AlertPolicy) -> str:
        """Sender and server."""
        return f"from {policy.email.sender} by {policy.email.host}" if policy.email else "off"

    def send(self, delivery: Delivery, means: SendingMeans) -> Receipt:
        """Sends a mail to one address."""
        policy = means.policy.email
        if policy is None:
            raise Undelivered("alerts.email is off", blocked=True)
        require_form(delivery.body, {"subject": str, "text": str, "html": str}, {})
        try:
            mail = mail_of(delivery, policy)
        except ValueError as error:
            raise Undelivered(f"this cannot be a mail: {error}", hopeless=True) from error
        login = (means.secret(USER_VARIABLE), means.secret(PASSWORD_VARIABLE)) if policy.login else None
        try:
            _send(policy, mail, login)
        except (OSError, UnicodeError) as error:
            raise _refusal(error, login[1] if login else "") from error
        return {"message_id": mail["Message-ID"]}


def mail_of(delivery: Delivery, policy: EmailPolicy) -> EmailMessage:
    """The mail as it is sent. A line break in a header is refused by the library, and none gets that far."""
    address = delivery.destination.split(":", 1)[1]
    domain = policy.sender.rpartition("@")[2]
    thread = f"{delivery.thread}.{digest([address])[:12]}"
    first = str((delivery.receipt or {}).get("message_id") or f"<{thread}@{domain}>")
    # readers differ over a subject that is folded before its first word; encoded words have to be folded
    subject = delivery.body["subject"]
    mail = EmailMessage(policy=SMTP.clone(max_line_length=LONGEST_LINE) if subject.isascii() else SMTP)
    mail["From"], mail["To"], mail["Date"] = policy.sender, address, formatdate()
    mail["Subject"] = subject
    mail["Auto-Submitted"] = "auto-generated"
    if delivery.action is Action.OPEN:
        mail["Message-ID"] = f"<{thread}@{domain}>"
        if delivery.notice.severity is Severity.CRITICAL:
            mail["Importance"] = "high"
    else:
        mail["Message-ID"] = f"<{thread}.{delivery.id}@{domain}>"
        mail["In-Reply-To"], mail["References"] = first, first
    mail.set_content(delivery.body["text"])
    mail.add_alternative(delivery.body["html"], subtype="html")
    return mail


def _send(policy: EmailPolicy, mail: EmailMessage, login: tuple[str, str] | None) -> None:
    context = ssl.create_default_context()
    client = smtplib.SMTP(timeout=policy.timeout_seconds)
    # Connected here and not by smtplib, whose connecting reads the server's greeting outside of the time limit.
    client.sock = socket.create_connection((policy.host, policy.port), policy.timeout_seconds)
    try:
        with ended_after(3 * policy.timeout_seconds, lambda: hang_up(client.sock)):
            if policy.security == "tls":
                _encrypt(client, context, policy.host)
            _require(client.getreply(), 220)
            client.ehlo_or_helo_if_needed()
            if policy.security == "starttls":
                _require(client.docmd("STARTTLS"), 220)
                _encrypt(client, context, policy.host)
                client.ehlo()
            if login is not None:
                client.login(*login)
            client.send_message(mail)
        # The mail is taken: a farewell that fails must not make it be sent again.
        with suppress(OSError):
            client.putcmd("quit")
    finally:
        client.close()


def _encrypt(client: smtplib.SMTP, context: ssl.SSLContext, host: str) -> None:
    """Continue within TLS. What came before is discarded: an attacker on the way could have inserted it."""
    assert client.sock is not None
    encrypted = context.wrap_socket(client.sock, server_hostname=host, do_handshake_on_connect=False)
    client.sock, client.file = encrypted, None
    client.ehlo_resp = client.helo_resp = None
    client.esmtp_features, client.does_esmtp = {}, False
    encrypted.do_handshake()


def _require(answer: tuple[int, bytes], code: int) -> None:
    if answer[0] != code:
        raise smtplib.SMTPResponseException(*answer)


def _refusal(error: OSError | UnicodeError, password: str) -> Undelivered:
    """What a failure means: 4xx passes; the content refused never gets through; anything else has to be mended."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, words = next(iter(error.recipients.values()))
        return _answered(code, words, password)
    if isinstance(error, smtplib.SMTPResponseException):
        return _answered(error.smtp_code, error.smtp_error, password, isinstance(error, smtplib.SMTPDataError))
    why = f"the mail server did not do it: {type(error).__name__}: {_words(str(error), password)}"
    is_ours = isinstance(error, (ssl.SSLCertVerificationError, smtplib.SMTPNotSupportedError, UnicodeError))
    return Undelivered(why, blocked=is_ours)


def _answered(code: int, words: bytes | str, password: str, is_content: bool = False) -> Undelivered:
    said = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    why = f"the mail server answered {code}: {_words(said, password)}"
    # Only the answer to the content is final: a refused login or sender is mended by an operator.
    is_final = code >= 500
    return Undelivered(why, hopeless=is_final and is_content, blocked=is_final and not is_content)


def _words(text: str, password: str) -> str:
    return clean(text.replace(password, "***") if password else text, 300)
