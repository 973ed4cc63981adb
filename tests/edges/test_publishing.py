"""Publishing: nothing counts as published unless a stranger reads the same bytes, and every reason is told."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Answer, scripted

from quickstart.chain.ids import blake2b_256
from quickstart.chain.transactions import Manifest
from quickstart.chain.transfers import RETRY_AFTER_CAP_SECONDS
from quickstart.errors import DataUnreadableError, StateError
from quickstart.submission.file_server import FileServer, _span
from quickstart.submission.folder_storage import FolderStorage
from quickstart.submission.storage import (
    ATTEMPTS,
    Publisher,
    object_key,
    public_client,
    verify_public,
    warn_if_rate_limited_host,
)

DATA = bytes(range(256)) * 4
CHECKSUM = blake2b_256(DATA)
GOOD = Answer(200, DATA)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with public_client() as client:
        yield client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    with FileServer(tmp_path / "public") as server:
        yield server


def check(url: str, client: httpx.Client) -> list[float]:
    """Verifies `url`; the pauses it took."""
    pauses: list[float] = []
    verify_public(url, CHECKSUM, len(DATA), client=client, sleep=pauses.append)
    return pauses


# -- reading back


def test_the_reader_carries_no_credentials(client: httpx.Client) -> None:
    with scripted(GOOD) as host:
        assert check(f"{host.url}/w", client) == []
        (request,) = host.seen
    assert request.method == "GET"
    assert not {"authorization", "cookie"} & set(request.headers)
    assert request.headers["accept-encoding"] == "identity"


def test_busy_servers_are_tried_again_as_they_ask(client: httpx.Client) -> None:
    busy = [
        Answer(429, headers={"Retry-After": "3"}),
        Answer(503, headers={"Retry-After": "900"}),
        Answer(500),
        Answer(404),
    ]
    with scripted(*busy, GOOD) as host:
        pauses = check(f"{host.url}/w", client)
        assert len(host.seen) == 5
    assert pauses[:2] == [3.0, RETRY_AFTER_CAP_SECONDS]  # as they ask, a minute at most
    assert 0.5 <= pauses[2] <= 1.0 <= pauses[3] <= 2.0  # else longer each time, with jitter


def test_a_torn_answer_is_read_again(client: httpx.Client) -> None:
    with scripted(Answer(200, DATA, cut=100), Answer(200, DATA[:-1]), GOOD) as host:
        assert len(check(f"{host.url}/w", client)) == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(429, headers={"Retry-After": "0"}), "HTTP 429"),
        (Answer(503), "HTTP 503"),
        (Answer(404), "HTTP 404"),
        (Answer(200, DATA[:500]), "500 of 1024 bytes came"),
    ],
)
def test_what_stays_unreadable_is_given_up(client: httpx.Client, answer: Answer, said: str) -> None:
    with scripted(answer) as host:
        with pytest.raises(DataUnreadableError, match=said) as caught:
            check(f"{host.url}/w", client)
        assert len(host.seen) == ATTEMPTS
    assert f"{host.url}/w" in str(caught.value) and f"{ATTEMPTS} tries" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(403), "HTTP 403.*make the bucket's objects public"),
        (Answer(401), "HTTP 401"),
        (Answer(200, DATA + b"!"), "more than the 1024 bytes"),
        (Answer(200, DATA[:-1] + b"!"), "other bytes"),
        (Answer(302, headers={"Location": "http://localhost:1/w"}), "another host, localhost:1"),
        (Answer(302, headers={"Location": "ftp://127.0.0.1/w"}), "another host"),
        (Answer(302, headers={"Location": "/w"}), "more than 3 redirects"),
        (Answer(302, headers={"Location": "http://[half"}), "redirects to what is no address"),
        (Answer(301), "HTTP 301"),
    ],
)
def test_what_another_try_cannot_mend_is_given_up_at_once(client: httpx.Client, answer: Answer, said: str) -> None:
    with scripted(answer) as host, pytest.raises(DataUnreadableError, match=said):
        check(f"{host.url}/w", client)


def test_a_redirect_on_the_same_host_is_followed(client: httpx.Client) -> None:
    with scripted(Answer(307, headers={"Location": "/other"}), GOOD) as host:
        assert check(f"{host.url}/w", client) == []
        assert [request.path for request in host.seen] == ["/w", "/other"]


def test_compressed_bytes_are_not_the_bytes(client: httpx.Client) -> None:
    """A validator that decodes nothing would see them as they come."""
    import gzip

    packed = Answer(200, gzip.compress(DATA), {"Content-Encoding": "gzip"})
    with scripted(packed) as host, pytest.raises(DataUnreadableError):
        check(f"{host.url}/w", client)


def test_nobody_there(client: httpx.Client) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/w"
        with pytest.raises(DataUnreadableError, match=f"refused, after {ATTEMPTS} tries"):
            check(url, client)
    with pytest.raises(DataUnreadableError, match="cannot read"):
        check("ftp://127.0.0.1/w", client)


def test_a_silent_server_does_not_hold_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, httpx.Client(timeout=0.1) as client:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/w"
        with pytest.raises(DataUnreadableError, match="timed out"):
            check(url, client)


def test_hosts_that_limit_reads_are_warned_of() -> None:
    warning = warn_if_rate_limited_host("https://pub-0.r2.dev/windows/x")
    assert warning is not None and "pub-0.r2.dev" in warning and "S3_PUBLIC_URL" in warning
    assert warn_if_rate_limited_host("https://data.example.org/r2.dev") is None


# -- a folder and its server


def test_a_published_window_is_readable(server: FileServer, client: httpx.Client, tmp_path: Path) -> None:
    publisher = Publisher(FolderStorage(tmp_path / "public", server.base_url), client)
    manifest = publisher.publish(DATA, CHECKSUM)
    assert manifest == Manifest(f"{server.base_url}/windows/{CHECKSUM.hex()}", CHECKSUM, 1024)
    assert publisher.publish(DATA, CHECKSUM) == manifest
    assert [path.name for path in (tmp_path / "public" / "windows").iterdir()] == [CHECKSUM.hex()]


def test_what_is_there_is_not_written_again_and_what_is_damaged_is(server: FileServer, tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "public", server.base_url)
    storage.put(DATA, CHECKSUM)
    path = tmp_path / "public" / object_key(CHECKSUM)
    inode = path.stat().st_ino
    storage.put(DATA, CHECKSUM)
    assert path.stat().st_ino == inode
    path.write_bytes(DATA[:10])
    storage.put(DATA, CHECKSUM)
    assert path.read_bytes() == DATA


def test_many_threads_publish_at_once(server: FileServer, client: httpx.Client, tmp_path: Path) -> None:
    publisher = Publisher(FolderStorage(tmp_path / "public", server.base_url), client)
    windows = [number.to_bytes(2, "big") * 512 for number in range(40)] * 2
    with ThreadPoolExecutor(8) as pool:
        manifests = list(pool.map(lambda data: publisher.publish(data, blake2b_256(data)), windows))
    assert len({manifest.url for manifest in manifests}) == 40
    assert not list((tmp_path / "public" / "windows").glob(".*"))


def test_bytes_that_changed_underneath_are_noticed(server: FileServer, client: httpx.Client, tmp_path: Path) -> None:
    other = FolderStorage(tmp_path / "elsewhere", server.base_url)
    with pytest.raises(DataUnreadableError, match="HTTP 404"):
        Publisher(other, client, sleep=lambda _: None).publish(DATA, CHECKSUM)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "windows").write_text("a file where the folder should be")
    with pytest.raises(StateError, match="cannot publish to the folder"):
        FolderStorage(tmp_path, "http://127.0.0.1:1").put(DATA, CHECKSUM)


def test_a_full_disk_is_named() -> None:
    class FullFolder(type(Path())):  # type: ignore[misc]
        """A folder whose disk has no room for it."""

        def read_bytes(self) -> bytes:
            raise FileNotFoundError

        def mkdir(self, *_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StateError, match="disk is full"):
        FolderStorage(FullFolder("/nowhere"), "http://127.0.0.1:1").put(DATA, CHECKSUM)


@pytest.fixture
def published(server: FileServer, tmp_path: Path) -> Iterator[httpx.Client]:
    root = tmp_path / "public"
    (root / "windows").mkdir()
    (root / "windows" / "one").write_bytes(DATA)
    (tmp_path / "outside").write_bytes(b"not to be seen")
    (root / "windows" / "link").symlink_to(tmp_path / "outside")
    with httpx.Client(base_url=server.base_url) as client:
        yield client


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=0-99", 206, 0, 99),
        ("bytes=100-", 206, 100, 1023),
        ("bytes=-24", 206, 1000, 1023),
        ("bytes=-5000", 206, 0, 1023),
        ("bytes=1000-5000", 206, 1000, 1023),
        ("bytes=0-0", 206, 0, 0),
    ],
)
def test_ranges(published: httpx.Client, asked: str, status: int, first: int, last: int) -> None:
    reply = published.get("/windows/one", headers={"Range": asked})
    assert reply.status_code == status
    assert reply.content == DATA[first : last + 1]
    assert reply.headers["content-range"] == f"bytes {first}-{last}/1024"


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_ranges_that_cannot_be_met(published: httpx.Client, asked: str) -> None:
    reply = published.get("/windows/one", headers={"Range": asked})
    assert (reply.status_code, reply.content) == (416, b"")
    assert reply.headers["content-range"] == "bytes */1024"


@pytest.mark.parametrize("asked", ["bytes=9-3", "bytes=-", "bytes=0-1,3-4", "lines=0-1", ""])
def test_ranges_that_are_none_are_ignored(published: httpx.Client, asked: str) -> None:
    reply = published.get("/windows/one", headers={"Range": asked})
    assert (reply.status_code, reply.content) == (200, DATA)


@given(st.one_of(st.none(), st.integers(0, 50)), st.one_of(st.none(), st.integers(0, 50)), st.integers(0, 40))
def test_a_range_never_leaves_the_file(first: int | None, last: int | None, size: int) -> None:
    span = _span(f"bytes={'' if first is None else first}-{'' if last is None else last}", size)
    if span:
        assert 0 <= span.start < span.stop <= size


def test_head_and_connections_kept_open(published: httpx.Client) -> None:
    head = published.head("/windows/one")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "1024")
    threads = threading.active_count()
    for _ in range(20):
        assert published.get("/windows/one").content == DATA
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/windows",
        "/windows/",
        "/.port",
        "/windows/../.port",
        "/..%2f..%2foutside",
        "/windows/%2e%2e/%2e%2e/outside",
        "/windows/..%5coutside",
        "/windows//one",
        "/windows/link",
        "/windows/one%00",
        "/windows/one/x",
        "/absent",
        "*",
    ],
)
def test_nothing_else_is_served(published: httpx.Client, server: FileServer, path: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        reply = b"".join(iter(lambda: raw.recv(65536), b""))
    assert reply.startswith(b"HTTP/1.1 404 ")
    assert b"not to be seen" not in reply and DATA[:64] not in reply


def test_the_port_stays_the_same_over_restarts(tmp_path: Path) -> None:
    with FileServer(tmp_path) as first:
        url = first.base_url
    with FileServer(tmp_path) as second:
        assert second.base_url == url
        # The port is taken now: another server of the same folder still starts, elsewhere.
        with FileServer(tmp_path) as third:
            assert third.base_url != url
            taken = third.port
        with pytest.raises(StateError, match="in use"):
            FileServer(tmp_path, second.port).start()
    with FileServer(tmp_path, taken) as fourth:
        assert fourth.port == taken
    (tmp_path / ".port").write_text("nonsense")
    with FileServer(tmp_path) as fifth:
        assert fifth.port > 0


def test_closing_ends_open_connections(tmp_path: Path) -> None:
    server = FileServer(tmp_path).start()
    with socket.create_connection(("127.0.0.1", server.port)) as idle:
        idle.settimeout(5)
        idle.sendall(b"HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 404")
        server.close()
        assert idle.recv(1) == b""
    server.close()
    with pytest.raises(RuntimeError):
        _ = server.port
