"""One file over HTTP: ranges, resume of a partial file, time-outs, a bounded number of patient retries."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from quickstart.chain.addresses import refuse_private
from quickstart.chain.transfers import retry_after
from quickstart.errors import WeightsError
from quickstart.units import MINUTES, SECONDS

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class _Retry(Exception):
    """This attempt failed in a way that another may not; `after`: seconds the host asks us to wait."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True, slots=True)
class Downloader:
    """How patient a download is. All times in seconds; `sleep` and `clock` (monotonic) are arguments so that
    tests need not wait.

    `private_hosts`: whether a URL or redirect may lead to this machine or a private network, as a devnet's do.
    `idle_timeout` bounds a connection attempt and the silence between two pieces, `deadline` the whole file
    with its retries: a host that drips a byte now and then never trips the first. Delays double from
    `first_delay` up to `longest_delay`, which also caps Retry-After.
    """

    attempts: int = 6
    idle_timeout: float = 30 * SECONDS
    deadline: float = 60 * MINUTES
    private_hosts: bool = False
    first_delay: float = 0.5 * SECONDS
    longest_delay: float = 30 * SECONDS
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def download(self, url: str, part: Path, size: int) -> None:
        """Fills `part` with exactly `size` bytes of `url`, going on where an earlier attempt or process
        stopped; synced to disk.

        Raises:
            WeightsError: a URL that strangers may not name, refused, another size than promised, or still failing after
            the last attempt.
            httpx.HTTPError, httpx.InvalidURL: a URL or redirect that is not http(s), or endless redirects.
            OSError: the disk.
        """
        deadline = self.clock() + self.deadline
        options: dict[str, Any] = {} if self.private_hosts else {"event_hooks": {"request": [_refuse_private_host]}}
        with httpx.Client(timeout=self.idle_timeout, follow_redirects=True, max_redirects=5, **options) as client:
            for attempt in range(1, self.attempts + 1):
                try:
                    self._attempt(client, url, part, size, deadline)
                    return
                except _Retry as failure:
                    delay = self._delay(attempt, failure.after)
                    if attempt == self.attempts or self.clock() + delay > deadline:
                        raise WeightsError(f"{failure} ({attempt} attempts)") from failure
                    self.sleep(delay)

    def _delay(self, attempt: int, asked: float | None) -> float:
        return min(self.longest_delay, max(asked or 0.0, self.first_delay * 2.0 ** (attempt - 1)))

    def _attempt(self, client: httpx.Client, url: str, part: Path, size: int, deadline: float) -> None:
        have = part.stat().st_size if part.exists() else 0
        if have > size:
            part.unlink()
            have = 0
        if have == size:
            return
        # A compressed transfer would make offsets and sizes mean something else.
        headers = {"Range": f"bytes={have}-{size - 1}", "Accept-Encoding": "identity"}
        try:
            with client.stream("GET", url, headers=headers) as response:
                start = _start_of(response, have, part)
                length = response.headers.get("Content-Length", "")
                if length.isascii() and length.isdigit() and start + int(length) > size:
                    raise WeightsError(f"the host sends {start + int(length)} bytes instead of {size}")
                self._receive(response, part, start, size, deadline)
        except httpx.UnsupportedProtocol:
            raise
        except httpx.TransportError as error:
            raise _Retry(f"{type(error).__name__}: {error}") from error

    def _receive(self, response: httpx.Response, part: Path, start: int, size: int, deadline: float) -> None:
        received = start
        with part.open("ab") as file:
            file.truncate(start)
            for chunk in response.iter_raw():
                received += len(chunk)
                if received > size:
                    raise WeightsError(f"the host sends more than {size} bytes")
                file.write(chunk)
                if self.clock() > deadline:
                    raise WeightsError(f"only {received} of {size} bytes within {self.deadline:g} s")
            file.flush()
            os.fsync(file.fileno())
        if received < size:
            raise _Retry(f"the connection ended after {received} of {size} bytes")


def _start_of(response: httpx.Response, asked: int, part: Path) -> int:
    """The offset at which this response's body begins.

    Raises:
        _Retry: worth another attempt.
        WeightsError: refused for good.
    """
    status = response.status_code
    if status == httpx.codes.OK:
        return 0
    if status == httpx.codes.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match and int(match[1]) == asked:
            return asked
        raise WeightsError(f"the host answers the range from {asked} with {response.headers.get('Content-Range')!r}")
    if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and asked:
        part.unlink()
        raise _Retry("the host refused to go on where the last attempt stopped")
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
        raise _Retry(f"HTTP {status}", retry_after(response.headers.get("Retry-After")))
    raise WeightsError(f"HTTP {status}")


def _refuse_private_host(request: httpx.Request) -> None:
    """Called before every request, those that redirects lead to included."""
    refuse_private(str(request.url))
