"""A bank with windows, workers that score them, and a web server that has the weights."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from quickstart.bank import Bank
from quickstart.bank.shards import ShardId
from quickstart.chain.ids import blake2b_256
from quickstart.chain.transactions import Manifest
from quickstart.data.window import Provenance, Window
from quickstart.devnet.genesis import packaged_model
from quickstart.executors.base import ScoreRequest
from quickstart.executors.local import LocalExecutor, WorkerSettings


def windows(count: int, kind: int = 0) -> list[Window]:
    """Different windows of text-like bytes."""
    return [
        Window.cut((b"def f_%d(x): return x + %d  # " % (n + 1000 * kind, n)).ljust(64) * 16, Provenance("t", "f", n))
        for n in range(count)
    ]


def bank_with(folder: Path, count: int) -> tuple[Bank, ShardId]:
    bank = Bank(folder / "bank")
    return bank, bank.add_windows(windows(count))


def workers(folder: Path, count: int = 1) -> LocalExecutor:
    return LocalExecutor(WorkerSettings(folder / "bank", folder / "weights", 10**9, "numpy", private_hosts=True), count)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serves a folder; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def published_weights(folder: Path, name: str = "python64") -> Iterator[tuple[Manifest, bytes]]:
    """A small trained model on a web server: its manifest and key."""
    packaged = packaged_model(name)
    (folder / "web").mkdir()
    (folder / "web" / name).write_bytes(packaged.encrypted)
    with web_server(folder / "web") as url:
        yield Manifest(f"{url}/{name}", blake2b_256(packaged.encrypted), len(packaged.encrypted)), packaged.key


def request(shard: ShardId, weights: tuple[Manifest, bytes], rows: tuple[int, ...] | None = None) -> ScoreRequest:
    return ScoreRequest(shard, b"m" * 32, *weights, rows)
