"""A small HTTP server for a folder on loopback: what a public bucket is to a devnet or localnet.

GET and HEAD, ranges, connections kept open; no listings, no hidden files, nothing outside the folder.
"""

import logging
import re
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

from quickstart.errors import StateError

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
PORT_FILE = ".port"
IDLE_SECONDS = 60.0

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class FileServer:
    """Serves `root` from `start` (or entering the context) to `close`.

    The port is kept in the folder and taken again next time, so that URLs that are on chain stay valid over
    restarts. When somebody else has taken it meanwhile, a new one is used, with a warning.
    """

    def __init__(self, root: Path, port: int | None = None) -> None:
        self._root = root
        self._wanted = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Raises StateError when the folder cannot be written or the port that was asked for is in use."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._server = self._listen()
            (self._root / PORT_FILE).write_text(f"{self.port}\n", encoding="ascii")
        except OSError as error:
            reason = error.strerror or str(error)
            raise StateError(f"cannot serve the folder {self._root} on {LOOPBACK}: {reason}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="file-server", daemon=True
        )
        self._thread.start()
        return self

    def close(self) -> None:
        """Ends all connections and frees the port; safe to call twice."""
        server, thread, self._server, self._thread = self._server, self._thread, None, None
        if server is None:
            return
        if thread is not None:
            server.shutdown()
            thread.join()
        server.end_connections()
        server.server_close()

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the file server is not running")
        return int(self._server.server_address[1])

    @property
    def base_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> "_Server":
        if self._wanted is not None:
            return _Server(self._root, self._wanted)
        remembered = _remembered_port(self._root / PORT_FILE)
        if remembered is not None:
            try:
                return _Server(self._root, remembered)
            except OSError:
                log.warning(
                    "port of earlier runs is in use: what they published is not readable now",
                    extra={"port": remembered, "folder": str(self._root)},
                )
        return _Server(self._root, 0)


def _remembered_port(path: Path) -> int | None:
    try:
        port = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return port if 0 < port < 65536 else None


class _Server(ThreadingHTTPServer):
    # Handlers are ended by `end_connections` and then joined, so no thread outlives the server.
    daemon_threads = False

    def __init__(self, root: Path, port: int) -> None:
        self.root = root.resolve()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((LOOPBACK, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A reader that goes away in the middle is no error of ours.
        log.debug("connection broke off", exc_info=True)

    def end_connections(self) -> None:
        with self._lock:
            connections = tuple(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "quickstart"
    sys_version = ""
    timeout = IDLE_SECONDS
    server: _Server
    # Headers and body are two writes; without this the second waits for the first's acknowledgement.
    disable_nagle_algorithm: ClassVar[bool] = True

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def _serve(self, *, with_body: bool) -> None:
        data = self._file()
        if data is None:
            self._reply(HTTPStatus.NOT_FOUND, b"", {}, with_body=with_body)
            return
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        span = _span(self.headers.get("Range"), len(data))
        if span is None:
            self._reply(HTTPStatus.OK, data, headers, with_body=with_body)
        elif not span:
            headers["Content-Range"] = f"bytes */{len(data)}"
            self._reply(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", headers, with_body=with_body)
        else:
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{len(data)}"
            part = data[span.start : span.stop]
            self._reply(HTTPStatus.PARTIAL_CONTENT, part, headers, with_body=with_body)

    def _file(self) -> bytes | None:
        """Content of the file the path names; None for anything that is not to be had here."""
        names = unquote(urlsplit(self.path).path).split("/")[1:]
        if any(not name or name.startswith(".") or "\\" in name or "\0" in name for name in names):
            return None
        path = self.server.root.joinpath(*names)
        try:
            # Links that lead out of the folder end here.
            if not path.resolve().is_relative_to(self.server.root):
                return None
            return path.read_bytes()
        except OSError:
            return None

    def _reply(self, status: HTTPStatus, body: bytes, headers: dict[str, str], *, with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def _span(header: str | None, size: int) -> range | None:
    """The bytes a `Range` header asks for: None for all, an empty range if it cannot be met (RFC 9110)."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return range(max(0, size - int(match[2])), size)
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    return range(first, min(last, size - 1) + 1)
