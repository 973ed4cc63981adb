"""What strangers publish and nodes send: typed errors, nothing worse; and addresses that lead nowhere private."""

import gzip
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from campaign_path import promise
from live_devnet import LiveDevnet
from loopback import Answer, scripted

from quickstart.chain.addresses import refuse_private
from quickstart.chain.client import NetworkReader, _active_models, connect
from quickstart.chain.ids import blake2b_256, format_digest, format_id
from quickstart.chain.transactions import Manifest
from quickstart.errors import NetworkError, WeightsError
from quickstart.scoring.download import Downloader
from quickstart.scoring.weights_store import WeightsStore


def test_nothing_but_typed_errors_and_bounded_memory() -> None:
    found = promise("hostile").run(0.01, seed=11)
    assert found["lost"] == 0, found
    assert sum(part.get("refused", 0) for part in found.values() if isinstance(part, dict)) > 80


# -- addresses


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://93.184.216.34/x",
        "http://",
        "http://[half",
        "http://127.0.0.1/x",
        "http://127.1/x",
        "http://2130706433/x",
        "http://localhost/x",
        "http://a.localhost./x",
        "http://0.0.0.0/x",
        "http://10.1.2.3/x",
        "http://172.16.0.1/x",
        "http://192.168.1.1:8080/x",
        "http://169.254.169.254/latest/meta-data",
        "http://100.64.0.1/x",
        "http://224.0.0.1/x",
        "http://255.255.255.255/x",
        "https://[::1]/x",
        "https://[fe80::1%25eth0]/x",
        "https://[fd00::1]/x",
        "https://[::ffff:192.168.0.1]/x",
        "https://[2002:7f00:1::]/x",
        "https://user:password@127.0.0.1/x",
    ],
)
def test_addresses_that_no_stranger_may_name(url: str) -> None:
    with pytest.raises(WeightsError):
        refuse_private(url)


@pytest.mark.parametrize("url", ["https://93.184.216.34/x", "http://1.1.1.1:8080/x", "https://[2606:4700::1111]/x"])
def test_public_addresses_are_let_through(url: str) -> None:
    refuse_private(url)


def test_a_model_on_this_machine_is_refused_unless_the_network_is_our_own(tmp_path: Path) -> None:
    body = b"not weights"
    with scripted(Answer(200, body)) as host:
        manifest = Manifest(f"{host.url}/w", blake2b_256(body), len(body))
        with pytest.raises(WeightsError, match="private network"):
            WeightsStore(tmp_path).fetch(manifest, bytes(32))
        assert host.seen == []
        with pytest.raises(WeightsError, match="not a safetensors file"):
            WeightsStore(tmp_path, downloader=Downloader(private_hosts=True)).fetch(manifest, bytes(32))
        assert len(host.seen) == 1


def test_a_redirect_into_a_private_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is looked up first, and the redirect of the host behind it."""
    real = socket.getaddrinfo
    looked_up: list[str] = []

    def look_up(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host not in ("weights.example", b"weights.example"):
            return real(host, port, *rest, **options)
        looked_up.append(str(host))
        return real("93.184.216.34" if len(looked_up) == 1 else "127.0.0.1", port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with scripted(Answer(200, b"secret")) as inner, scripted(Answer(302, headers={"Location": inner.url})) as outer:
        url = outer.url.replace("127.0.0.1", "weights.example")
        with pytest.raises(WeightsError, match="private network"):
            WeightsStore(tmp_path).fetch(Manifest(f"{url}/w", bytes(32), 6), bytes(32))
        assert (len(outer.seen), len(inner.seen)) == (1, 0)


def test_a_packed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(64 * 2**20))
    store = WeightsStore(tmp_path, downloader=Downloader(private_hosts=True, attempts=1))
    with scripted(Answer(200, bomb, {"Content-Encoding": "gzip"})) as host, pytest.raises(WeightsError):
        store.fetch(Manifest(f"{host.url}/w", bytes(32), 1_000_000), bytes(32))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= len(bomb)


@pytest.mark.parametrize("length", ["²", "-1", "9" * 40, "1e3"])
def test_headers_that_are_no_numbers(tmp_path: Path, length: str) -> None:
    answer = Answer(503, headers={"Retry-After": length})
    store = WeightsStore(tmp_path, downloader=Downloader(private_hosts=True, attempts=2, sleep=lambda _: None))
    with scripted(answer) as host, pytest.raises(WeightsError, match="HTTP 503"):
        store.fetch(Manifest(f"{host.url}/w", bytes(32), 10), bytes(32))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_checksum_of_another_length_is_never_met(tmp_path: Path, length: int) -> None:
    store = WeightsStore(tmp_path, downloader=Downloader(private_hosts=True, attempts=1))
    with scripted(Answer(200, b"0123456789")) as host, pytest.raises(WeightsError):
        store.fetch(Manifest(f"{host.url}/w", blake2b_256(b"0123456789")[:1] * length, 10), bytes(32))


# -- replies of a node


class Doctored:
    """The real client, with one reply made into another."""

    def __init__(self, client: Any, method: str, doctor: Any) -> None:
        self._client, self._method, self._doctor = client, method, doctor

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if name != self._method:
            return real

        async def doctored(*arguments: Any, **options: Any) -> Any:
            return self._doctor(await real(*arguments, **options))

        return doctored


def reader(live: LiveDevnet, method: str, doctor: Any) -> NetworkReader:
    return NetworkReader(Doctored(live.run(connect(live.endpoints)), method, doctor), live.endpoints.rpc)


def test_targets_that_cannot_be_are_left_out(live: LiveDevnet) -> None:
    spoilt = {
        0: {"embedding": [float("nan")] * 64},
        1: {"embedding": [1.0] * 63},
        2: {"embedding": []},
        3: {"embedding": [0.0] * 64},
        4: {"distance_threshold": float("inf")},
        5: {"reward_pool": -1},
        6: {"model_ids": []},
    }

    def doctor(page: Any) -> Any:
        views = [
            SimpleNamespace(**{**{n: getattr(view, n, None) for n in FIELDS}, **spoilt.get(number, {})})
            for number, view in enumerate(page.targets)
        ]
        return SimpleNamespace(targets=[*views, *views], next_page_token=page.next_page_token)  # each of them twice

    board = live.run(reader(live, "list_targets", doctor).board())
    assert len(board.targets) == 40 - len(spoilt)
    assert all(np.isfinite(target.embedding).all() for target in board.targets.values())


FIELDS = ("id", "embedding", "model_ids", "distance_threshold", "reward_pool", "generation_epoch", "status")


def test_a_listing_without_end_is_an_error(live: LiveDevnet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quickstart.chain.client.MOST_PAGES", 3)
    endless = reader(live, "list_targets", lambda _: SimpleNamespace(targets=[], next_page_token=None))
    assert live.run(endless.board()).targets == {}
    real = live.run(connect(live.endpoints))

    class Endless:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def list_targets(self, **_: Any) -> Any:
            return SimpleNamespace(targets=[], next_page_token="more")

    with pytest.raises(NetworkError, match="without end"):
        live.run(NetworkReader(Endless(), live.endpoints.rpc).board())


@pytest.mark.parametrize("spoil", ["parameters", "epoch", "protocol_version"])
def test_a_state_that_lacks_something_is_one_line(live: LiveDevnet, spoil: str) -> None:
    def doctor(state: Any) -> Any:
        return SimpleNamespace(**{name: value for name, value in vars(state).items() if name != spoil})

    with pytest.raises(NetworkError, match="cannot read") as caught:
        live.run(reader(live, "get_latest_system_state", doctor).board())
    assert "\n" not in str(caught.value)


def state_of(models: dict[str, Any]) -> Any:
    return SimpleNamespace(model_registry=SimpleNamespace(models=SimpleNamespace(**models)))


def model(checksum: bytes = bytes(32), key: bytes = bytes(32), embedding: bytes = bytes(256), url: str = "u") -> Any:
    metadata = SimpleNamespace(V1=SimpleNamespace(checksum=format_digest(checksum), size=10))
    active = SimpleNamespace(
        owner="0x1",
        manifest=SimpleNamespace(V1=SimpleNamespace(url=url, metadata=metadata)),
        decryption_key=format_digest(key),
        embedding=SimpleNamespace(bytes=list(embedding)),
        staking_pool=SimpleNamespace(soma_balance=1),
    )
    return SimpleNamespace(V1=SimpleNamespace(Active=active))


def test_a_model_that_cannot_be_takes_no_other_with_it() -> None:
    good = {format_id(bytes([n]) * 32): model() for n in range(3)}
    bad = {
        format_id(b"\x11" * 32): model(checksum=bytes(31)),
        format_id(b"\x12" * 32): model(key=bytes(33)),
        format_id(b"\x13" * 32): model(embedding=bytes(255)),
        "zz": model(),
        "0x" + "1" * 65: model(),
    }
    assert set(_active_models(state_of(good | bad))) == {bytes([n]) * 32 for n in range(3)}


def test_ten_thousand_models_are_read() -> None:
    models = {format_id(n.to_bytes(32, "big")): model(embedding=bytes(16)) for n in range(10_000)}
    assert len(_active_models(state_of(models))) == 10_000


def test_an_unknown_state_of_a_model_is_no_active_one() -> None:
    strange = SimpleNamespace(V1=SimpleNamespace(Frozen=SimpleNamespace()))
    assert _active_models(state_of({format_id(bytes(32)): strange})) == {}
