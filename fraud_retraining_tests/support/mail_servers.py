"""A mail server on loopback: real SMTP within real TLS, that a test can make refuse, to lose answers and to be slow."""

import base64
import ssl
import threading
import time
from contextlib import suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

USER, PASSWORD = "alerts@fraud.example", "p4ss-of-the-mailbox"


class MailServer:
    """Mailboxes by address. `answers` are given once each instead of what the command would get."""

    def __init__(self, context: ssl.SSLContext, *, implicit: bool = False) -> None:
        self.mails: list[tuple[str, EmailMessage]] = []
        self.raw: list[bytes] = []
        self.commands: list[str] = []
        self.answers: dict[str, list[str]] = {}
        self.is_down = self.offers_no_tls = False
        self.lost_answers = 0
        self.pause = 0.0
        outer = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                if not outer.is_down:
                    with suppress(OSError, ssl.SSLError):
                        Session(outer, self, context, implicit).serve()

        class Quiet(ThreadingTCPServer):
            daemon_threads, allow_reuse_address = True, True

            def handle_error(self, request: Any, client_address: Any) -> None:
                return

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def box(self, address: str) -> list[EmailMessage]:
        return [mail for recipient, mail in self.mails if recipient == address]


class Session:
    """One connection. Nothing but STARTTLS is taken outside of TLS, and no mail before a login."""

    def __init__(
        self, server: MailServer, handler: StreamRequestHandler, context: ssl.SSLContext, implicit: bool
    ) -> None:
        self.server, self.context = server, context
        self.socket = handler.connection
        self.is_encrypted = self.is_known = False
        self.recipients: list[str] = []
        if implicit:
            self.encrypt()
        self.lines = self.socket.makefile("rb")

    def encrypt(self) -> None:
        self.socket = self.context.wrap_socket(self.socket, server_side=True)
        self.is_encrypted = True

    def say(self, answer: str) -> None:
        data = f"{answer}\r\n".encode()
        for start in range(0, len(data), 1 if self.server.pause else len(data)):
            time.sleep(self.server.pause)
            self.socket.sendall(data[start:] if not self.server.pause else data[start : start + 1])

    def serve(self) -> None:
        self.say("220 mail.example")
        while line := self.lines.readline():
            words = line.decode().strip()
            command = words.partition(" ")[0].upper()
            self.server.commands.append(command)
            planned = self.server.answers.get(command, [])
            if command == "QUIT":
                return
            if planned:
                self.say(planned.pop(0))
            elif not self.obey(command, words):
                return

    def obey(self, command: str, words: str) -> bool:
        if command in ("EHLO", "HELO"):
            self.say("250-mail.example\r\n250 AUTH PLAIN" if self.is_encrypted else self._plain_features())
        elif command == "STARTTLS" and not self.server.offers_no_tls:
            self.say("220 go on")
            self.encrypt()
            self.lines = self.socket.makefile("rb")
        elif command == "STARTTLS":
            self.say("502 not here")
        elif not self.is_encrypted:
            self.say("530 STARTTLS first")
        elif command == "AUTH":
            _, user, password = base64.b64decode(words.split()[2]).decode().split("\0")
            self.is_known = (user, password) == (USER, PASSWORD)
            self.say("235 welcome" if self.is_known else f"535 wrong password {password}")
        elif not self.is_known:
            self.say("530 who are you")
        elif command == "RCPT":
            self.recipients = [words.split("<")[1].split(">")[0]]
            self.say("250 ok")
        elif command == "DATA":
            return self.take()
        else:
            self.say("250 ok")
        return True

    def _plain_features(self) -> str:
        return "250 mail.example" if self.server.offers_no_tls else "250-mail.example\r\n250 STARTTLS"

    def take(self) -> bool:
        self.say("354 go on")
        lines = []
        while (line := self.lines.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        planned = self.server.answers.get("content", [])
        if planned:
            self.say(planned.pop(0))
            return True
        self.server.raw.append(b"".join(lines))
        mail = message_from_bytes(b"".join(lines), policy=default)
        assert isinstance(mail, EmailMessage)
        self.server.mails += [(recipient, mail) for recipient in self.recipients]
        if self.server.lost_answers:
            self.server.lost_answers -= 1
            return False
        self.say("250 taken")
        return True
