"""What stands before every page: it is read only, whoever asks must give the password, browsers get strict rules."""

import hmac
from base64 import b64decode
from binascii import Error as NotBase64

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application around another.

    `password`: asked for by HTTP Basic, with any user name; None lets everybody in. `hosts`: names under which a
    browser may ask, so that no foreign page can reach one on this machine by a name of its own; None for all.
    """

    def __init__(self, app: ASGIApp, password: str | None, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._password = None if password is None else password.encode()
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await (self._refusal(scope) or self._app)(scope, receive, _strict(send))
        else:
            await send({"type": "websocket.close"})

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["method"] != "GET":
            return PlainTextResponse("this page is read only\n", 405, {"Allow": "GET"})
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            return PlainTextResponse("not a name of this machine\n", 421)
        if self._password is not None and not self._knows(headers.get("authorization", ""), self._password):
            asks = {"WWW-Authenticate": 'Basic realm="quickstart", charset="UTF-8"'}
            return PlainTextResponse("the password is QUICKSTART_DASHBOARD_PASSWORD, with any user name\n", 401, asks)
        return None

    @staticmethod
    def _knows(authorization: str, password: bytes) -> bool:
        scheme, _, given = authorization.partition(" ")
        try:
            _, _, said = b64decode(given, validate=True).partition(b":")
        except (NotBase64, ValueError):
            said = b""
        return hmac.compare_digest(said, password) and scheme.casefold() == "basic"


def _host(header: str) -> str:
    """The name without the port."""
    name, _, port = header.rpartition(":")
    return (name if port.isdecimal() else header).casefold()


def _strict(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sending
