"""The store against a real HTTP server on loopback that misbehaves in the ways hosts do."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from safetensors.numpy import save

from quickstart.chain.ids import blake2b_256
from quickstart.chain.transactions import Manifest
from quickstart.errors import WeightsError
from quickstart.scoring.download import Downloader
from quickstart.scoring.engine import Architecture
from quickstart.scoring.weights import encrypt, expected_shapes
from quickstart.scoring.weights_store import WeightsStore
from quickstart.units import MIB

KEY = bytes(range(32))


@dataclass
class Host:
    """What the server serves, how it fails next, and what it was asked: `faults` are used up one per request."""

    body: bytes = b""
    ranges: bool = True
    faults: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    host: ClassVar[Host]

    def do_GET(self) -> None:
        self.host.asked.append(self.headers.get("Range", ""))
        fault = self.host.faults.pop(0) if self.host.faults else None
        body, start = self.host.body, 0
        if isinstance(fault, tuple):
            status, headers = fault
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.host.ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
            self.send_response(206)
            begin = start + 1 if fault == "other range" else start
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if fault != "no length":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if fault == "truncated":
            self.wfile.write(body[start : (start + len(body)) // 2])
        elif fault == "dripping":
            self.drip(body)
        elif fault == "silent":
            self.host.stopping.wait(10)
        else:
            self.wfile.write(body[start:])

    def drip(self, body: bytes) -> None:
        for i in range(len(body)):
            if self.host.stopping.wait(0.02):
                return
            try:
                self.wfile.write(body[i : i + 1])
            except OSError:
                return

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tiny_tensors: Any) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    host = Host(encrypt(save(tiny_tensors), KEY))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"host": host}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_port}/model"  # type: ignore[attr-defined]
    yield host
    host.stopping.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def store(tmp_path: Path, slept: list[float]) -> WeightsStore:
    downloader = Downloader(
        private_hosts=True, attempts=4, idle_timeout=0.5, deadline=20.0, longest_delay=7.0, sleep=slept.append
    )
    return WeightsStore(tmp_path, downloader=downloader)


def manifest_of(host: Any) -> Manifest:
    return Manifest(host.url, blake2b_256(host.body), len(host.body))


def test_fetches_once_and_then_reads_the_cache(host: Any, store: WeightsStore, tmp_path: Path) -> None:
    manifest = manifest_of(host)
    first, second = store.fetch(manifest, KEY), store.fetch(manifest, KEY)
    assert first.checksum == second.checksum
    assert first.architecture.width == 16
    assert host.asked == [f"bytes=0-{manifest.size - 1}"]
    assert (tmp_path / f"{manifest.checksum.hex()}.enc").read_bytes() == host.body
    assert not list(tmp_path.glob("*.part"))


def test_a_host_without_ranges_works(host: Any, store: WeightsStore, tmp_path: Path) -> None:
    host.ranges = False
    manifest = manifest_of(host)
    (tmp_path / f"{manifest.checksum.hex()}.part").write_bytes(b"left by an earlier run")
    assert store.fetch(manifest, KEY).architecture.layers == 1


def test_a_truncated_download_goes_on_where_it_stopped(host: Any, store: WeightsStore, slept: list[float]) -> None:
    host.faults = ["truncated"]
    manifest = manifest_of(host)
    store.fetch(manifest, KEY)
    assert host.asked == [f"bytes={start}-{manifest.size - 1}" for start in (0, manifest.size // 2)]
    assert slept == [0.5]


def test_a_part_of_an_earlier_process_is_resumed(host: Any, store: WeightsStore, tmp_path: Path) -> None:
    manifest = manifest_of(host)
    (tmp_path / f"{manifest.checksum.hex()}.part").write_bytes(host.body[:5000])
    store.fetch(manifest, KEY)
    assert host.asked == [f"bytes=5000-{manifest.size - 1}"]


@pytest.mark.parametrize("extra", [b"", b"and more than there should be"])
def test_a_damaged_part_is_fetched_again_from_the_start(
    host: Any, store: WeightsStore, tmp_path: Path, extra: bytes
) -> None:
    manifest = manifest_of(host)
    damaged = b"\x00" * 5000 + host.body[5000:] + extra if extra else b"\x00" * 5000
    (tmp_path / f"{manifest.checksum.hex()}.part").write_bytes(damaged)
    store.fetch(manifest, KEY)
    assert host.asked[-1] == f"bytes=0-{manifest.size - 1}"


def test_a_damaged_cached_file_is_dropped_and_fetched_again(host: Any, store: WeightsStore, tmp_path: Path) -> None:
    manifest = manifest_of(host)
    store.fetch(manifest, KEY)
    path = tmp_path / f"{manifest.checksum.hex()}.enc"
    path.write_bytes(b"\x00" + host.body[1:])
    store.fetch(manifest, KEY)
    assert len(host.asked) == 2
    assert path.read_bytes() == host.body


@pytest.mark.parametrize(
    ("retry_after", "waited"),
    [("3", 3.0), ("600", 7.0), ("soon", 0.5), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.5), ("0", 0.5)],
)
def test_retry_after_is_honoured_up_to_a_cap(
    host: Any, store: WeightsStore, slept: list[float], retry_after: str, waited: float
) -> None:
    host.faults = [(429, {"Retry-After": retry_after})]
    store.fetch(manifest_of(host), KEY)
    assert slept == [waited]


def test_a_host_that_keeps_failing_is_given_up(host: Any, store: WeightsStore, slept: list[float]) -> None:
    host.faults = [(503, {})] * 9
    with pytest.raises(WeightsError, match=rf"model {host.url}: HTTP 503 \(4 attempts\)"):
        store.fetch(manifest_of(host), KEY)
    assert slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_refusal_is_final(host: Any, store: WeightsStore, slept: list[float], status: int) -> None:
    host.faults = [(status, {})]
    with pytest.raises(WeightsError, match=rf"model {host.url}: HTTP {status}"):
        store.fetch(manifest_of(host), KEY)
    assert slept == []


@pytest.mark.parametrize("ranges", [True, False])
def test_other_bytes_than_published_are_refused(host: Any, store: WeightsStore, tmp_path: Path, ranges: bool) -> None:
    manifest = manifest_of(host)
    host.ranges = ranges
    host.body = host.body[:-1] + bytes([host.body[-1] ^ 1])
    with pytest.raises(WeightsError, match="checksum"):
        store.fetch(manifest, KEY)
    assert not list(tmp_path.glob("*.enc")) + list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("fault", [None, "no length"])
def test_a_longer_body_than_published_is_refused(host: Any, store: WeightsStore, fault: str | None) -> None:
    manifest = manifest_of(host)
    host.ranges, host.faults, host.body = False, [fault], host.body * 2
    with pytest.raises(WeightsError, match=r"sends (more than )?\d+ bytes"):
        store.fetch(manifest, KEY)


def test_another_range_than_asked_is_refused(host: Any, store: WeightsStore) -> None:
    host.faults = ["other range"]
    with pytest.raises(WeightsError, match="range from 0"):
        store.fetch(manifest_of(host), KEY)


def test_a_silent_host_runs_into_the_idle_timeout(host: Any, tmp_path: Path) -> None:
    host.faults = ["silent"]
    store = WeightsStore(tmp_path, downloader=Downloader(private_hosts=True, attempts=1, idle_timeout=0.1))
    with pytest.raises(WeightsError, match="ReadTimeout"):
        store.fetch(manifest_of(host), KEY)


def test_a_dripping_host_runs_into_the_deadline(host: Any, tmp_path: Path) -> None:
    host.faults = ["dripping"]
    started = time.monotonic()
    store = WeightsStore(tmp_path, downloader=Downloader(private_hosts=True, idle_timeout=1.0, deadline=0.3))
    with pytest.raises(WeightsError, match=r"of \d+ bytes within 0.3 s"):
        store.fetch(manifest_of(host), KEY)
    assert time.monotonic() - started < 5


def test_nobody_listening(store: WeightsStore, host: Any, slept: list[float]) -> None:
    manifest = Manifest("http://127.0.0.1:1/model", blake2b_256(host.body), len(host.body))
    with pytest.raises(WeightsError, match=r"model http://127.0.0.1:1/model: ConnectError.* \(4 attempts\)"):
        store.fetch(manifest, KEY)
    assert len(slept) == 3


@pytest.mark.parametrize("location", ["file:///etc/hosts", "ftp://127.0.0.1/model", "gopher://x"])
def test_a_redirect_away_from_http_is_refused(host: Any, store: WeightsStore, location: str) -> None:
    host.faults = [(302, {"Location": location})]
    with pytest.raises(WeightsError, match=f"model {host.url}: "):
        store.fetch(manifest_of(host), KEY)
    assert len(host.asked) == 1


def test_a_redirect_within_http_is_followed_but_not_for_ever(host: Any, store: WeightsStore) -> None:
    host.faults = [(302, {"Location": host.url})]
    store.fetch(manifest_of(host), KEY)
    host.faults, host.body = [(302, {"Location": host.url})] * 20, host.body + b"x"
    with pytest.raises(WeightsError, match="redirects"):
        store.fetch(manifest_of(host), KEY)


@pytest.mark.parametrize("url", ["file:///etc/hosts", "model.bin", "http://", "http://[::1"])
def test_a_url_that_is_not_http_is_refused(host: Any, store: WeightsStore, url: str) -> None:
    with pytest.raises(WeightsError, match="model "):
        store.fetch(Manifest(url, blake2b_256(host.body), len(host.body)), KEY)


def test_a_wrong_key_names_the_model(host: Any, store: WeightsStore) -> None:
    with pytest.raises(WeightsError, match=f"model {host.url}: not a safetensors file"):
        store.fetch(manifest_of(host), bytes(32))


@pytest.mark.parametrize("size", [0, 2**63])
def test_a_size_that_cannot_be_kept_is_refused_unasked(host: Any, store: WeightsStore, size: int) -> None:
    with pytest.raises(WeightsError, match=f"size of {size} bytes"):
        store.fetch(Manifest(host.url, blake2b_256(host.body), size), KEY)
    assert host.asked == []


def test_the_least_recently_used_file_goes_first(host: Any, tmp_path: Path, tiny_tensors: Any) -> None:
    store = WeightsStore(tmp_path, max_bytes=5 * len(host.body) // 2, downloader=Downloader(private_hosts=True))
    manifests = []
    for i in range(3):
        tiny_tensors["final_norm.beta"][0] = i
        host.body = encrypt(save(tiny_tensors), KEY)
        manifests.append(manifest_of(host))
        store.fetch(manifests[-1], KEY)
        if i == 1:
            store.fetch(manifests[0], KEY)
    kept = {path.stem for path in tmp_path.glob("*.enc")}
    assert kept == {manifests[0].checksum.hex(), manifests[2].checksum.hex()}


MEASURED = """
import sys
import tracemalloc
from pathlib import Path
from quickstart.chain.transactions import Manifest
from quickstart.scoring.weights_shelf import WeightsShelf
from quickstart.scoring.weights_store import WeightsStore
from quickstart.units import MIB

folder, (checksum, key), size = Path(sys.argv[1]), map(bytes.fromhex, sys.argv[2:4]), int(sys.argv[4])
manifest, store = Manifest("http://127.0.0.1:9/w", checksum, size), WeightsStore(folder / "cache")
tracemalloc.start()
weights = store.fetch(manifest, key)
shelf = WeightsShelf(folder / "shelf", 2**40)
shelf.load(shelf.add(manifest, key, store))
for name in weights.tensors:
    weights.tensors[name]
print(len(weights.tensors), tracemalloc.get_traced_memory()[1])
"""


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path: Path, write_formula: Any) -> None:
    """Checked, decrypted, put on a shelf, opened again and read tensor by tensor, the largest of 17 MB. Counted are the
    blocks that Python and numpy ask for; a mapped file is none.
    """
    architecture = Architecture(1024, 6, 4096, 4)
    plain, cache = tmp_path / "plain", tmp_path / "cache"
    cache.mkdir()
    write_formula(plain, architecture, 0)
    encrypted = encrypt(plain.read_bytes(), KEY)
    checksum = blake2b_256(encrypted)
    (cache / f"{checksum.hex()}.enc").write_bytes(encrypted)
    arguments = [str(tmp_path), checksum.hex(), KEY.hex(), str(len(encrypted))]
    done = subprocess.run([sys.executable, "-c", MEASURED, *arguments], capture_output=True, text=True, check=True)
    tensors, peak = map(int, done.stdout.split())
    assert tensors == len(expected_shapes(architecture))
    assert len(encrypted) > 290 * MIB
    assert 16 * MIB < peak < 40 * MIB


def test_threads_that_want_the_same_file_fetch_it_once(host: Any, store: WeightsStore) -> None:
    manifest = manifest_of(host)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(store.fetch(manifest, KEY))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({weights.checksum for weights in results}) == 1
    assert len(results) == 4
    assert len(host.asked) == 1
