"""File contents of the Software Heritage archive, by blob, many at a time.

The archive's public bucket has an object `content/<sha1_git>` for every blob, gzipped; sha1_git is git's own name for
those bytes, so what arrives can be proven to be what was asked for.
"""

import codecs
import hashlib
import weakref
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import httpx

from quickstart.data.patience import BUSY_STATUS, GivenUpError, Patience, TransientError, retry_after
from quickstart.units import MIB, SECONDS

K = TypeVar("K")

PUBLIC_ENDPOINT = "https://softwareheritage.s3.amazonaws.com"
CONCURRENCY = 64
"""Requests in flight: at 100 ms each, more than one core can cut."""

TIMEOUT = 30 * SECONDS
LARGEST_CONTENT = 1 * MIB
"""Of a longer file only the beginning is read; times CONCURRENCY it bounds the memory."""

REFUSED = frozenset({403, 404, 410})
"""A bucket that may not be listed answers 403 for an object that is not there."""


class BadContentError(Exception):
    """One blob is missing or broken; the message is the reason it is counted under."""


class Contents:
    """Blobs from the archive's bucket; one for all that read from it, so that it is asked by `concurrency` threads."""

    def __init__(self, endpoint: str | None, patience: Patience | None = None, concurrency: int = CONCURRENCY) -> None:
        self._endpoint = endpoint or PUBLIC_ENDPOINT
        self._patience = patience or Patience(self._endpoint)
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="contents")
        self._client = httpx.Client(timeout=TIMEOUT, limits=limits, headers={"Accept-Encoding": "identity"})
        weakref.finalize(self, _close, self._pool, self._client)

    def fetch(self, blob_id: str, encoding: str) -> bytes:
        """The beginning of a blob, up to `LARGEST_CONTENT`, as UTF-8.

        Raises:
            BadContentError: that blob cannot be had, or is not what it should be.
            SourceError: the bucket is dead.
        """
        try:
            packed = self._patience.call(lambda: self._get(blob_id))
        except GivenUpError as error:
            raise BadContentError("unavailable content") from error
        content, whole = _unpack(packed)
        if whole and hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() != blob_id:
            raise BadContentError("wrong content")
        try:
            return _decode(content, encoding, whole).encode()
        except (UnicodeError, LookupError) as error:
            raise BadContentError("wrong encoding") from error

    def fetch_all(
        self, wanted: Iterator[tuple[K, str, str]], ahead: int, skipped: Counter[str]
    ) -> Iterator[tuple[K, bytes]]:
        """The blobs of `wanted` (key, blob, encoding) in their order, with up to `ahead` asked for before they are
        needed; bad ones are counted and left out."""
        in_flight: deque[tuple[K, Future[bytes]]] = deque()
        try:
            for key, blob_id, encoding in wanted:
                in_flight.append((key, self._pool.submit(self.fetch, blob_id, encoding)))
                if len(in_flight) >= ahead:
                    yield from _first(in_flight, skipped)
            while in_flight:
                yield from _first(in_flight, skipped)
        finally:
            for _, future in in_flight:
                future.cancel()

    def _get(self, blob_id: str) -> bytes:
        try:
            with self._client.stream("GET", f"{self._endpoint}/content/{blob_id}") as response:
                if response.status_code in REFUSED:
                    raise BadContentError("missing content")
                if response.status_code in BUSY_STATUS:
                    raise TransientError(f"HTTP {response.status_code}", retry_after(response.headers))
                if response.status_code != httpx.codes.OK:
                    raise BadContentError(f"HTTP {response.status_code}")
                return _read(response)
        except httpx.TransportError as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error


def _close(pool: ThreadPoolExecutor, client: httpx.Client) -> None:
    pool.shutdown(wait=False, cancel_futures=True)
    client.close()


def _read(response: httpx.Response) -> bytes:
    """The body, at most as much of it as unpacks to `LARGEST_CONTENT`, and a little more."""
    parts, size = [], 0
    for part in response.iter_raw():
        parts.append(part)
        size += len(part)
        if size > LARGEST_CONTENT:
            break
    return b"".join(parts)


def _unpack(packed: bytes) -> tuple[bytes, bool]:
    """Unzipped bytes, and whether they are all there are."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        content = unzip.decompress(packed, LARGEST_CONTENT)
    except zlib.error as error:
        raise BadContentError("broken gzip") from error
    if not unzip.eof and len(content) < LARGEST_CONTENT and len(packed) <= LARGEST_CONTENT:
        raise BadContentError("truncated gzip")
    return content, unzip.eof


def _decode(content: bytes, encoding: str, whole: bool) -> str:
    """The text; the end of what is not whole may lie within a character."""
    return codecs.getincrementaldecoder(encoding)().decode(content, final=whole)


def _first(in_flight: "deque[tuple[K, Future[bytes]]]", skipped: Counter[str]) -> Iterator[tuple[K, bytes]]:
    key, future = in_flight.popleft()
    try:
        content = future.result()
    except BadContentError as error:
        skipped[str(error)] += 1
    else:
        yield key, content
