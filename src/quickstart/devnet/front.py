"""The port's front door: HTTP/2 goes on to the gRPC server, HTTP/1.1 is answered here (`soma-protocol`
§9)."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from quickstart.devnet.faults import Faults
from quickstart.errors import UnreachableError

HTTP2_PREFACE = b"PRI "
LARGEST_BODY = 1024 * 1024
_REASONS = {200: "OK", 206: "Partial Content", 400: "Bad Request", 404: "Not Found", 416: "Range Not Satisfiable",
            429: "Too Many Requests", 502: "Bad Gateway", 503: "Service Unavailable"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """Header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpResponse:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self, with_body: bool = True) -> bytes:
        headers = {"content-type": "application/octet-stream", **self.headers}
        headers |= {"content-length": str(len(self.body)), "connection": "close"}
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + (self.body if with_body else b"")


class Front:
    """One listening port on loopback. `drop` aborts a connection by the address the gRPC server sees."""

    def __init__(
        self, faults: Faults, backend_port: int, answer: Callable[[HttpRequest], Awaitable[HttpResponse]]
    ) -> None:
        self._faults = faults
        self._backend_port = backend_port
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._clients: dict[str, asyncio.StreamWriter] = {}
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, port: int, option: str) -> int:
        """Listens on `port`, 0 for any; gives the port.

        Raises:
            UnreachableError: the port is taken; the message names `option`.
        """
        try:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "in use" if error.errno == errno.EADDRINUSE else "not allowed"
            raise UnreachableError(
                f"port {port} is {why}: choose another with {option} (0 takes any free one)"
            ) from error
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def stop(self) -> None:
        """Closes the port and every connection at once."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def drop(self, peer: str) -> bool:
        """Aborts the client connection behind `peer`, if it is one of this front's."""
        client = self._clients.get(peer)
        if client is None:
            return False
        client.transport.abort()
        return True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._faults.thawed()
            head = await reader.readexactly(len(HTTP2_PREFACE))
            if head == HTTP2_PREFACE:
                await self._forward(head, reader, writer)
            else:
                await self._serve_http(head, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            # The other side went away, or does not speak HTTP: nothing to answer.
            pass
        except asyncio.CancelledError:
            # Only `stop` cancels; the stream protocol would log it as an error of ours.
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _forward(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend_reader, backend_writer = await asyncio.open_connection("127.0.0.1", self._backend_port)
        host, port = backend_writer.get_extra_info("sockname")[:2]
        peer = f"ipv4:{host}:{port}"
        self._clients[peer] = writer
        pumps = [
            asyncio.create_task(self._pump(reader, backend_writer)),
            asyncio.create_task(self._pump(backend_reader, writer)),
        ]
        try:
            backend_writer.write(head)
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._clients[peer]
            backend_writer.transport.abort()  # before any wait: `stop` may cut that short
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._faults.thawed()
                writer.write(data)
                await writer.drain()

    async def _serve_http(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = (head + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if length > LARGEST_BODY:
            raise ValueError("body too large")
        request = HttpRequest(method, path, headers, await reader.readexactly(length))
        response = await self._answer(request)
        await self._faults.thawed()
        writer.write(response.encode(with_body=method != "HEAD"))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
