"""HTTP servers on the loopback interface for these tests: one that follows a script, one that stands before another."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx


@dataclass(frozen=True)
class Seen:
    """A request as it came in; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """`cut`: close the connection after this many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass
class Host:
    url: str
    seen: list[Seen] = field(default_factory=list)


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that goes away in the middle is what some tests are about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(answer: Callable[[Seen, bytes], Answer]) -> Iterator[Host]:
    """A server that answers every request as `answer` says."""
    host = Host("")

    class Handler(BaseHTTPRequestHandler):
        # 1.1 for its "100 Continue", which S3 clients wait a second for; one request a connection all the same.
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
            host.seen.append(seen)
            reply = answer(seen, body)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            if "Content-Length" not in reply.headers:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body[: reply.cut])

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

        def log_message(self, *_: object) -> None:
            pass

    server = _Quiet(("127.0.0.1", 0), Handler)
    host.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def scripted(*answers: Answer) -> Iterator[Host]:
    """A server that gives `answers` in turn, the last one for ever."""
    remaining = list(answers)

    def answer(_: Seen, __: bytes) -> Answer:
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    with serving(answer) as host:
        yield host


@contextmanager
def before(upstream: str, refuse: Callable[[Seen], Answer | None]) -> Iterator[Host]:
    """A server that hands requests on to `upstream`, unless `refuse` answers first."""
    with httpx.Client(base_url=upstream, trust_env=False) as client:

        def answer(seen: Seen, body: bytes) -> Answer:
            refusal = refuse(seen)
            if refusal is not None:
                return refusal
            kept = {
                k: v for k, v in seen.headers.items() if k not in ("host", "connection", "content-length", "expect")
            }
            reply = client.request(seen.method, seen.path, headers=kept, content=body)
            headers = {k: v for k, v in reply.headers.items() if k.lower() not in ("connection", "transfer-encoding")}
            headers = {"Content-Length" if k.lower() == "content-length" else k: v for k, v in headers.items()}
            return Answer(reply.status_code, reply.content, headers)

        with serving(answer) as host:
            yield host
