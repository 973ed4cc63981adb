"""Where alerts go: a webhook, and mail. Each takes one message or says why not, in words that hold no secret."""

import math
import re
import smtplib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, getaddresses
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from quickstart.chain.addresses import is_loopback
from quickstart.errors import BusyError, NetworkError, SettingsError
from quickstart.modal_app.events import Redactor
from quickstart.settings import AlertShape, Settings, settings_table
from quickstart.submission.storage import public_client
from quickstart.units import HOURS

MOST_CHARACTERS = 1_500
"""Of a message's text; Discord refuses 2,000."""

SMTP_SECONDS = 10.0
LONGEST_ASKED_SECONDS = 1 * HOURS

_IN_URLS = re.compile(r"(https?://)(?:[^\s/@]*@)?([^\s?#]*)(?:[?#]\S*)?")


class Standing(StrEnum):
    RAISED = "raised"
    CLEARED = "cleared"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Message:
    """What to tell, without secrets. `since`, `at`: ISO 8601, UTC; `key`: the same for an alert's begin and end."""

    standing: Standing
    kind: str
    key: str
    text: str
    since: str
    at: str

    @property
    def line(self) -> str:
        """All of it in one line for people."""
        begin = {Standing.RAISED: "", Standing.CLEARED: "over: ", Standing.TEST: "test: "}[self.standing]
        return _cut(f"quickstart, {self.key}: {begin}{self.kind}: {self.text}")

    @property
    def identity(self) -> str:
        """The same for the same message sent again."""
        content = repr((self.standing.value, self.kind, self.key, self.at))
        return blake2b(content.encode(), digest_size=16).hexdigest()


class Channel(Protocol):
    """`name`: how the journal knows it; `place`: where it leads, without a secret."""

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str: ...

    def send(self, message: Message) -> None:
        """Delivers one message.

        Raises:
            NetworkError: it was not taken; with a `BusyError`, for how long to leave it alone.
        """
        ...


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that takes a POST of JSON. Whoever has it may write there: it is a secret."""

    url: str = field(repr=False)
    shape: AlertShape
    name: str = "webhook"

    @property
    def place(self) -> str:
        return f"{self.shape} webhook at {urlsplit(self.url).hostname}"

    def send(self, message: Message) -> None:
        """As `Channel`. No redirect is followed, and nothing but the status of the answer is read."""
        try:
            with public_client() as client, client.stream("POST", self.url, json=self._body(message)) as answer:
                status, asked = answer.status_code, _seconds(answer.headers.get("retry-after"))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            # Its text may hold the address.
            raise NetworkError(f"{self.place}: {type(error).__name__}") from None
        if 200 <= status < 300:
            return
        told = f"{self.place}: HTTP {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")
        raise BusyError(told, asked) if status in (429, 503) else NetworkError(told)

    def _body(self, message: Message) -> dict[str, Any]:
        if self.shape is AlertShape.SLACK:
            escaped = message.line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            return {"text": escaped}
        if self.shape is AlertShape.DISCORD:
            return {"content": message.line, "allowed_mentions": {"parse": []}}
        return {
            "source": "quickstart",
            "id": message.identity,
            "state": message.standing.value,
            "kind": message.kind,
            "key": message.key,
            "text": _cut(message.text),
            "since": message.since,
            "at": message.at,
        }


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail server that takes our mail: `smtps` with TLS from the first byte, else STARTTLS, without which only a
    server on this machine gets anything.
    """

    host: str
    port: int
    smtps: bool
    sender: str
    recipients: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    name: str = "mail"

    @property
    def place(self) -> str:
        return f"mail to {', '.join(self.recipients)} by {self.host}"

    def send(self, message: Message) -> None:
        """As `Channel`."""
        tls = self.tls or ssl.create_default_context()
        try:
            with self._connect(tls) as server:
                if not self.smtps:
                    self._secure(server, tls)
                if self.user is not None:
                    server.login(self.user, self.password or "")
                server.send_message(self._mail(message), self.sender, list(self.recipients))
        except smtplib.SMTPResponseException as error:
            refused = isinstance(error, smtplib.SMTPAuthenticationError)
            what = "does not accept user and password" if refused else "refuses it"
            raise NetworkError(f"{self.place}: the server {what} (SMTP {error.smtp_code})") from None
        except smtplib.SMTPNotSupportedError:
            raise NetworkError(f"{self.place}: the server offers no STARTTLS, or no log-in") from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            # What a server says may repeat what it was told.
            raise NetworkError(f"{self.place}: {type(error).__name__}") from None

    def _connect(self, tls: ssl.SSLContext) -> smtplib.SMTP:
        if self.smtps:
            return smtplib.SMTP_SSL(self.host, self.port, timeout=SMTP_SECONDS, context=tls)
        return smtplib.SMTP(self.host, self.port, timeout=SMTP_SECONDS)

    def _secure(self, server: smtplib.SMTP, tls: ssl.SSLContext) -> None:
        server.ehlo_or_helo_if_needed()
        if server.has_extn("starttls") or not is_loopback(f"smtp://{self.host}"):
            server.starttls(context=tls)

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = self.sender
        mail["To"] = ", ".join(self.recipients)
        mail["Subject"] = " ".join(f"quickstart: {message.standing}: {message.kind}, {message.key}".split())
        mail["Date"] = formatdate()
        mail["Message-ID"] = f"<{message.identity}@quickstart.invalid>"
        mail.set_content(f"{_cut(message.text)}\n\nsince {message.since}, as of {message.at}\n")
        return mail


def channels_of(settings: Settings) -> tuple[Channel, ...]:
    """The channels that are set, none where nothing is.

    Raises:
        SettingsError: one is set in part.
    """
    found: list[Channel] = []
    if settings.alert_webhook is not None:
        url = settings.alert_webhook.get_secret_value()
        found.append(Webhook(url, shape_of(url) if settings.alert_shape is AlertShape.AUTO else settings.alert_shape))
    if settings.alert_mail_to is not None or settings.alert_smtp is not None:
        found.append(_mail_of(settings))
    return tuple(found)


def _mail_of(settings: Settings) -> Mail:
    settings.require("QUICKSTART_ALERT_MAIL_TO", "QUICKSTART_ALERT_SMTP")
    assert settings.alert_mail_to is not None and settings.alert_smtp is not None
    recipients = tuple(address for _, address in getaddresses([settings.alert_mail_to]))
    user = settings.alert_smtp_user
    sender = settings.alert_mail_from or (user if user and "@" in user else recipients[0])
    parts = urlsplit(settings.alert_smtp)
    smtps, password = parts.scheme == "smtps", settings.alert_smtp_password
    if (user is None) != (password is None):
        raise SettingsError(
            "QUICKSTART_ALERT_SMTP_USER and QUICKSTART_ALERT_SMTP_PASSWORD go together: set both, or neither"
        )
    port = parts.port or (465 if smtps else 587)
    secret = None if password is None else password.get_secret_value()
    return Mail(parts.hostname or "", port, smtps, sender, recipients, user, secret)


def shape_of(url: str) -> AlertShape:
    """What an address wants to be told in: known by its host."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("discord.com", "discordapp.com") or host.endswith((".discord.com", ".discordapp.com")):
        return AlertShape.SLACK if parts.path.endswith("/slack") else AlertShape.DISCORD
    return AlertShape.SLACK if host == "slack.com" or host.endswith(".slack.com") else AlertShape.JSON


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """The values of all settings that are secret."""
    values = (getattr(settings, row.attribute) for row in settings_table() if row.secret)
    return tuple(value.get_secret_value() for value in values if value is not None)


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """One line without secrets: none of these values, nothing of a secret's form, and of addresses neither user nor
    query.
    """
    return " ".join(_IN_URLS.sub(r"\1\2", Redactor(secrets)(text)).split())


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def _seconds(text: str | None) -> float | None:
    """`Retry-After` in seconds; None for a date, or nothing."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return min(LONGEST_ASKED_SECONDS, value) if math.isfinite(value) and value >= 0 else None
