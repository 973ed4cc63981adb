"""Publishing submitted bytes, and proof that anybody can read them, before anything naming them is signed.

Bytes that validators cannot download, or that differ, cost the bond. So a published object is named by its
checksum, and read back as a stranger would: by its public URL, without credentials.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import httpx

from quickstart.chain.backoff import Backoff
from quickstart.chain.ids import Id32
from quickstart.chain.outcomes import http_failure
from quickstart.chain.transactions import Manifest
from quickstart.errors import DataUnreadableError
from quickstart.units import MIB

log = logging.getLogger(__name__)

ATTEMPTS = 5
BACKOFF = Backoff(first=0.25, longest=10.0)
CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
READING_SECONDS = 30.0
"""A host that needs longer for one object, dripping it, is as good as dead to a validator."""
SLOWEST_BYTES_PER_SECOND = 4 * MIB
"""For large objects: weights of 4.8 GB may take twenty minutes."""
PIECE_BYTES = 5 * MIB
"""What the network's scoring service asks for at a time (`soma-protocol` §13)."""
REDIRECTS = 3

_REDIRECTING = frozenset({301, 302, 303, 307, 308})
# A store may show an object a moment after it took it, so "not found" right after publishing may pass.
_LAGGING = frozenset({404})

_RATE_LIMITED_SUFFIXES = (".r2.dev",)


class Storage(Protocol):
    """A place to publish bytes. Implementations may be called from several threads at once."""

    def put(self, data: bytes, checksum: Id32, *, again: bool = False) -> str:
        """Publishes `data` under a name made from `checksum`, once; returns its public URL.

        `again`: also when it seems to be there, since readers did not get it.
        """
        ...

    def put_file(self, path: Path, checksum: Id32, *, again: bool = False) -> str:
        """The same for the content of a file, which is never in memory as a whole."""
        ...

    def remove(self, checksums: Iterable[Id32]) -> None:
        """Deletes what was published under these names; what is not there is no failure."""
        ...

    def public_url(self, checksum: Id32) -> str:
        """The URL anybody reads the bytes of that checksum at."""
        ...


def object_key(checksum: Id32) -> str:
    """Name of a published window inside its bucket or folder."""
    return f"windows/{checksum.hex()}"


def public_client() -> httpx.Client:
    """A client that carries no credentials, as validators' do not. It may be shared by threads; close it."""
    direct = {"all://127.0.0.1": None, "all://localhost": None}
    return httpx.Client(
        follow_redirects=False,
        timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        headers={"accept-encoding": "identity"},
        mounts=direct,
    )


@dataclass(frozen=True, slots=True)
class Publisher:
    """A storage and the client that checks it. Safe to call from threads."""

    storage: Storage
    client: httpx.Client
    sleep: Callable[[float], None] = time.sleep

    def publish(self, data: bytes, checksum: Id32, *, again: bool = False) -> Manifest:
        """Puts `data`, reads it back in public, and gives the manifest to sign. `again`: see `Storage.put`.

        Raises:
            DataUnreadableError: the public copy cannot be read or differs; nothing may be signed.
            QuickstartError: the storage refused the upload; see the storage.
        """
        url = self.storage.put(data, checksum, again=again)
        self.verify(url, checksum, len(data))
        return Manifest(url, checksum, len(data))

    def publish_file(self, path: Path, checksum: Id32) -> Manifest:
        """The same for a file, of which readers also get any part alone: validators fetch weights in pieces (§13).

        Raises: as `publish`; OSError: the file cannot be read.
        """
        url, size = self.storage.put_file(path, checksum), path.stat().st_size
        self.verify(url, checksum, size)
        first = max(size // 2, size - PIECE_BYTES)
        with path.open("rb") as file:
            file.seek(first)
            verify_range(url, first, size, file.read(), client=self.client, sleep=self.sleep)
        return Manifest(url, checksum, size)

    def verify(self, url: str, checksum: Id32, size: int) -> None:
        """See `verify_public`."""
        verify_public(url, checksum, size, client=self.client, sleep=self.sleep)


@dataclass(frozen=True, slots=True)
class _Retry:
    """A reading that may go well in a moment."""

    reason: str
    pause_seconds: float | None = None


def verify_public(
    url: str, checksum: Id32, size: int, *, client: httpx.Client, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Reads `url` without credentials and compares size and BLAKE2b-256.

    Busy servers (429, 5xx) and lost connections are tried again, after the pause the server asks for (a minute at
    most). Redirects are followed on the same host only.

    Raises:
        DataUnreadableError: says why, with the URL.
    """
    _patiently(lambda: _read(client, url, partial(_compare, url=url, checksum=checksum, size=size)), url, sleep)


def verify_range(
    url: str,
    first: int,
    size: int,
    expected: bytes | None = None,
    *,
    client: httpx.Client,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Reads the bytes of `url` from `first` on alone, without credentials, and compares them with `expected`, or where
    that is None counts them; of an object of `size` bytes. As patient as `verify_public`.

    Raises:
        DataUnreadableError: says why, with the URL.
    """
    header = {"range": f"bytes={first}-{size - 1}"}
    piece = partial(_compare_piece, url=url, first=first, size=size, expected=expected)
    _patiently(lambda: _read(client, url, piece, header), url, sleep)


def _patiently(read: Callable[[], _Retry | None], url: str, sleep: Callable[[float], None]) -> None:
    reason = ""
    for attempt in range(ATTEMPTS):
        outcome = read()
        if outcome is None:
            return
        reason = outcome.reason
        if attempt + 1 < ATTEMPTS:
            log.info("public copy not readable yet", extra={"url": url, "reason": reason, "attempt": attempt + 1})
            sleep(BACKOFF.pause(attempt + 1, outcome.pause_seconds))
    raise DataUnreadableError(f"cannot read {url}: {reason}, after {ATTEMPTS} tries")


def _read(
    client: httpx.Client,
    url: str,
    compare: Callable[[httpx.Response], _Retry | None],
    headers: Mapping[str, str] | None = None,
) -> _Retry | None:
    """One reading: None when all is well, `_Retry` if another may help, DataUnreadableError if none will."""
    location = url
    for _ in range(REDIRECTS + 1):
        try:
            with client.stream("GET", location, headers=headers) as response:
                target = response.headers.get("location")
                if response.status_code in _REDIRECTING and target:
                    location = _same_host(location, target, url)
                    continue
                failure = http_failure(response.status_code, response.headers)
                if failure is not None:
                    if failure.retryable or response.status_code in _LAGGING:
                        return _Retry(str(failure), failure.retry_after_seconds)
                    raise DataUnreadableError(f"cannot read {url}: {failure}; make the bucket's objects public")
                return compare(response)
        except httpx.TransportError as error:
            return _Retry(str(error) or type(error).__name__)
        except httpx.InvalidURL as error:
            raise DataUnreadableError(f"cannot read {url}: {error}") from error
    raise DataUnreadableError(f"cannot read {url}: more than {REDIRECTS} redirects")


def _compare(response: httpx.Response, url: str, checksum: Id32, size: int) -> _Retry | None:
    digest = hashlib.blake2b(digest_size=32)
    received = 0
    allowed = max(READING_SECONDS, size / SLOWEST_BYTES_PER_SECOND)
    deadline = time.monotonic() + allowed
    # Raw bytes: what a reader gets who decodes nothing.
    for chunk in response.iter_raw():
        received += len(chunk)
        if received > size:
            raise DataUnreadableError(f"{url} serves more than the {size} bytes that were published")
        digest.update(chunk)
        if time.monotonic() > deadline:
            return _Retry(f"only {received} of {size} bytes came in {allowed:.0f} s")
    if received < size:
        return _Retry(f"{received} of {size} bytes came")
    if digest.digest() != checksum:
        raise DataUnreadableError(f"{url} serves other bytes than were published")
    return None


def _compare_piece(response: httpx.Response, url: str, first: int, size: int, expected: bytes | None) -> _Retry | None:
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        raise DataUnreadableError(
            f"{url} does not serve ranges (HTTP {response.status_code}), and validators fetch weights in pieces: "
            "publish at a host that does"
        )
    whole = response.headers.get("content-range", "").rpartition("/")[2]
    if whole != str(size):
        raise DataUnreadableError(f"{url} has {whole or 'unknown'} bytes instead of {size}")
    received = bytearray()
    for chunk in response.iter_raw():
        received += chunk
        if len(received) > size - first:
            break
    if len(received) < size - first:
        return _Retry(f"{len(received)} of {size - first} bytes came")
    if len(received) > size - first or expected not in (None, received):
        raise DataUnreadableError(f"{url} serves other bytes than were published")
    return None


def _same_host(location: str, target: str, url: str) -> str:
    try:
        following = urljoin(location, target)
        before, after = urlsplit(location), urlsplit(following)
    except ValueError as error:
        raise DataUnreadableError(f"{url} redirects to what is no address: {target[:80]!r}") from error
    if (after.scheme, after.netloc) != (before.scheme, before.netloc):
        raise DataUnreadableError(
            f"{url} redirects to another host, {after.netloc or following[:80]}; "
            "set S3_PUBLIC_URL to where the bytes are"
        )
    return following


def warn_if_rate_limited_host(url: str) -> str | None:
    """A warning for public hosts that are for trials and limit how often they are read; else None."""
    host = urlsplit(url).hostname or ""
    if host.endswith(_RATE_LIMITED_SUFFIXES):
        return (
            f"{host} limits the rate of reads, and validators that cannot read cost the bond: "
            "connect a domain of your own to the bucket and set S3_PUBLIC_URL to it"
        )
    return None
