"""Hostile input: everything that is parsed from outside, fed with noise and with damaged good examples.

Nothing but a typed error may come out, and no input may take memory out of proportion.
"""

import json
import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from safetensors.numpy import save

from quickstart.chain.addresses import refuse_private
from quickstart.chain.board import ActiveModel, Board, Epoch, OpenTarget
from quickstart.chain.checkpoints import read_checkpoint
from quickstart.chain.client import _active_models, _agrees, _coin, _epoch, _open_target, _owner
from quickstart.chain.effects import effects_from_sdk
from quickstart.chain.ids import format_digest
from quickstart.chain.objects import TargetContents
from quickstart.chain.outcomes import classify
from quickstart.chain.own_models import own_models
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.reading import read_failure
from quickstart.chain.replies import reply_of, usable
from quickstart.chain.shared_lease import Record
from quickstart.chain.spawning import SpawnRule
from quickstart.chain.status_text import RETRY_AFTER_CAP_SECONDS as NODE_CAP_SECONDS
from quickstart.chain.transactions import Manifest
from quickstart.chain.transfers import RETRY_AFTER_CAP_SECONDS, retry_after
from quickstart.errors import NetworkError, WeightsError
from quickstart.scoring.engine import Architecture
from quickstart.scoring.weights import expected_shapes, parse_weights
from quickstart.wire import soma_pb2 as pb
from tests.campaign.registry import Findings, Promise

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MOST_BYTES = 64 * 1024 * 1024


def good_target() -> bytes:
    manifest = Manifest("https://host/w", bytes(32), 1024)
    embedding = np.arange(8, dtype=np.float32)
    return TargetContents(
        embedding, (bytes(32),), 1.0, 5, 3, submitter=bytes(32), manifest=manifest, winning_loss=(1.0,)
    ).encode()


def good_weights() -> bytes:
    shapes = expected_shapes(Architecture(width=16, layers=1, feed_forward=32, heads=4))
    return bytes(save({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}))


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """A good example cut, lengthened, or with some bytes changed; sometimes noise."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=400))
    data = bytearray(good)
    for _ in range(draw(st.integers(0, 6))):
        where = draw(st.integers(0, min(len(data), 400) - 1))
        data[where] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def safetensors_files(draw: st.DrawFn) -> bytes:
    """Headers that are JSON of the right kind, with shapes, offsets and lengths of any size."""
    sizes = st.one_of(st.integers(0, 70), st.integers(2**30, 2**70))
    tensor = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F64", "BF16", "I8", "X"]),
            "shape": st.lists(sizes, max_size=3),
            "data_offsets": st.tuples(sizes, sizes).map(list),
        }
    )
    names = st.sampled_from(["embedding.weight", "encoder.layers.0.pwff.linear_inner.weight", "predictor.bias", "x"])
    header = draw(st.one_of(st.dictionaries(names, tensor, max_size=4), json_values))
    text = json.dumps(header).encode()
    length = draw(st.one_of(st.just(len(text)), st.integers(0, 2**64 - 1)))
    return struct.pack("<Q", length) + text + draw(st.binary(max_size=64))


def _namespace(value: Any) -> Any:
    """JSON-like values in the shape in which the SDK hands replies out."""
    if isinstance(value, dict):
        return SimpleNamespace(**{str(name): _namespace(inner) for name, inner in value.items()})
    return [_namespace(inner) for inner in value] if isinstance(value, list) else value


REPLY_NAMES = st.sampled_from(
    [
        "contents", "AddressOwner", "soma_balance", "commit_epoch", "embedding_commitment", "decryption_key_commitment",
        "parameters", "epoch", "epoch_start_timestamp_ms", "target_state", "distance_threshold", "bytes", "V1",
        "model_registry", "models", "Active", "manifest", "metadata", "checksum", "status", "transaction_fee",
        "changed_objects", "transaction_digest", "executed_epoch", "version", "protocol_version",
    ]
)  # fmt: skip

replies = st.recursive(
    st.none() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=50) | st.lists(st.integers(0, 300)),
    lambda inner: st.dictionaries(REPLY_NAMES, inner, max_size=6),
    max_leaves=20,
).map(_namespace)


def _read_state(reply: Any) -> None:
    with reply_of("http://node"):
        _epoch(reply)


def _read_models(reply: Any) -> None:
    with reply_of("http://node"):
        _active_models(reply)


def _read_effects(reply: Any) -> None:
    with reply_of("http://node"):
        effects_from_sdk(reply)


def _read_listing(reply: Any) -> None:
    with reply_of("http://node"):
        usable(_open_target(OPEN.target_id, reply), len(OPEN.embedding))
        _agrees(OPEN, {OPEN.target_id: reply})


def _read_object(reply: Any) -> None:
    with reply_of("http://node"):
        _coin(reply)
        _owner(reply)


def _read_own_models(reply: Any) -> None:
    with reply_of("http://node"):
        own_models(reply, bytes(32))


def _read_checkpoint(message: pb.Checkpoint) -> None:
    read_checkpoint(message, BOARD, {OPEN.target_id}, SpawnRule.of(BOARD))


def _read_failure(text: str) -> None:
    error = RuntimeError(text)
    waits = classify(error), read_failure(error, "http://node")
    assert all(0 <= (getattr(wait, "retry_after_seconds", None) or 0) <= NODE_CAP_SECONDS for wait in waits)


def _read_lease(value: Any) -> None:
    record = Record.decode(json.dumps(value).encode())
    assert 0 < record.ttl_seconds < float("inf")
    if record.holder is not None:
        assert record.holder.describe()


def _read_target(data: bytes) -> None:
    with reply_of("http://node"):
        TargetContents.decode(data)


def _read_retry_after(text: str) -> None:
    seconds = retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_CAP_SECONDS


def spoilt(good: dict[str, Any]) -> st.SearchStrategy[Any]:
    """A good reply with some of its values made into others."""
    other = st.none() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=70) | replies
    changes = st.dictionaries(st.sampled_from(sorted(good)), other, max_size=2)
    return changes.map(lambda changed: SimpleNamespace(**{**good, **changed}))


GOOD_TARGET = {
    "id": "0x5",
    "model_ids": ["0x" + "6d" * 32],
    "embedding": [1.0] * 8,
    "distance_threshold": 1.0,
    "reward_pool": 5,
    "generation_epoch": 3,
}
GOOD_COIN = {
    "id": "0x5",
    "version": 3,
    "digest": format_digest(bytes(32)),
    "data": SimpleNamespace(contents=bytes(40)),
    "owner": SimpleNamespace(AddressOwner="00" * 32),
}
GOOD_MODEL = {
    "owner": "00" * 32,
    "staking_pool": SimpleNamespace(soma_balance=1),
    "decryption_key_commitment": format_digest(bytes(32)),
    "pending_update": None,
}


def _registry(model: Any) -> Any:
    models = SimpleNamespace(**{"0x5": SimpleNamespace(V1=SimpleNamespace(Active=model))})
    return SimpleNamespace(model_registry=SimpleNamespace(models=models))


OPEN = OpenTarget(b"t" * 32, np.ones(8, np.float32), (b"m" * 32,), 1.0, 5, 3)
MODEL = ActiveModel(b"m" * 32, b"o" * 32, Manifest("u", bytes(32), 9), b"k" * 32, np.ones(8, np.float32), 1)
BOARD = Board(
    Epoch(3, 0, replace(PARAMETERS[5], target_embedding_dim=8), 1.0, 5),
    {MODEL.model_id: MODEL},
    {OPEN.target_id: OPEN},
)
id_texts = st.sampled_from(["0x" + "74" * 32, "74" * 32, "0x5", "", "0x", "zz", "9" * 70]) | st.text(max_size=70)
digest_texts = st.sampled_from([format_digest(b"d" * 32), format_digest(bytes(31)), "", "0OIl"]) | st.text(max_size=50)


@st.composite
def checkpoints(draw: st.DrawFn) -> pb.Checkpoint:
    message = pb.Checkpoint(sequence_number=draw(st.integers(0, 2**64 - 1)))
    message.summary.epoch = draw(st.integers(0, 2**64 - 1))
    for _ in range(draw(st.integers(0, 3))):
        transaction = message.transactions.add(digest=draw(digest_texts))
        transaction.effects.status.success = draw(st.booleans())
        for _ in range(draw(st.integers(0, 3))):
            transaction.effects.changed_objects.add(
                object_id=draw(id_texts), output_digest=draw(digest_texts), id_operation=draw(st.integers(0, 3))
            )
    return message


failure_texts = st.lists(
    st.sampled_from(
        [
            "status: ", "gRPC error: ", "RPC error: ", "Internal", "ResourceExhausted", "InvalidArgument",
            ", message: ",
            '"', "\\", "Object (0x", "5, Version(", "9" * 30, ") is not available for consumption", "retry after ",
            "already locked by a different transaction: TransactionDigest(", "1" * 44, "Transaction failed: ",
            "X failed (digest: ", "): Failure { error: ", "TensorData", "}", "Transaction executed but", "\n", "²",
        ]
    )
    | st.text(max_size=12),
    max_size=12,
).map("".join)  # fmt: skip
leases = json_values | st.fixed_dictionaries(
    {
        "holder": json_values | st.fixed_dictionaries(dict.fromkeys(("pid", "host", "command", "since"), json_values)),
        "owner": json_values,
        "write": json_values,
        "ttl_seconds": json_values,
    }
)

hosts = st.one_of(
    st.ip_addresses().map(lambda a: f"[{a}]" if a.version == 6 else str(a)),
    st.sampled_from(["localhost", "localhost.", "2130706433", "0x7f.1", "[::ffff:10.0.0.1]", "[::", "127.1", ""]),
)
urls = st.one_of(
    st.builds(lambda s, h, p: f"{s}://{h}{p}", st.sampled_from(["http", "https", "file", "ftp", ""]), hosts,
              st.sampled_from(["", "/x", ":80/x", ":99999/", ":x/"])),
    st.sampled_from(["file:///etc/passwd", "http://", "//h", "http://user@127.0.0.1/"]),
    st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=30).filter(lambda text: "://" not in text),
)  # fmt: skip

INPUTS: dict[str, tuple[Callable[[], st.SearchStrategy[Any]], Callable[[Any], Any], type[Exception]]] = {
    "damaged weights": (lambda: damaged(good_weights()), parse_weights, WeightsError),
    "safetensors headers": (safetensors_files, parse_weights, WeightsError),
    "targets": (lambda: damaged(good_target()), _read_target, NetworkError),
    "system states": (lambda: replies, _read_state, NetworkError),
    "models": (lambda: replies, _read_models, NetworkError),
    "target listings": (lambda: spoilt(GOOD_TARGET), _read_listing, NetworkError),
    "coins": (lambda: spoilt(GOOD_COIN), _read_object, NetworkError),
    "own models": (lambda: spoilt(GOOD_MODEL).map(_registry), _read_own_models, NetworkError),
    "checkpoints": (checkpoints, _read_checkpoint, ValueError),
    "failures": (lambda: failure_texts, _read_failure, NetworkError),
    "leases": (lambda: leases, _read_lease, NetworkError),
    "effects": (lambda: replies, _read_effects, NetworkError),
    "addresses": (lambda: urls, refuse_private, WeightsError),
    "pauses": (
        lambda: st.text(alphabet=st.characters(max_codepoint=0xFF), max_size=40),
        _read_retry_after,
        WeightsError,
    ),
}


def _fuzz(name: str, examples: int, seed_: int) -> dict[str, Any]:
    inputs, read, refusal = INPUTS[name]
    outcomes: Counter[str] = Counter()
    peak = 0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(seed_)
    @given(inputs())
    def fed(value: Any) -> None:
        nonlocal peak
        tracemalloc.start()  # here, so that what makes the examples is neither counted nor slowed down
        try:
            read(value)
            outcomes["read"] += 1
        except refusal:
            outcomes["refused"] += 1
        except Exception as error:  # noqa: BLE001 - exactly what is looked for: it is counted and named
            outcomes["untyped"] += 1
            outcomes[f"untyped {type(error).__name__}"] += 1
        finally:
            peak = max(peak, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    fed()
    return {**outcomes, "peak_mib": round(peak / 2**20, 1), "too_much_memory": int(peak > MOST_BYTES)}


def run(scale: float, seed: int) -> dict[str, Any]:
    """Hostile input. `scale` 1: 2,000 examples of each kind."""
    examples = max(10, round(2_000 * scale))
    found = {name: _fuzz(name, examples, seed) for name in INPUTS}
    lost = sum(part.get("untyped", 0) + part["too_much_memory"] for part in found.values())
    done = f"{examples} examples of each of {len(INPUTS)} kinds"
    return {"promise": "hostile input", "done": done, "seed": seed, "lost": lost, **found}


def nothing_but_typed_errors(scale: int, seed: int) -> Findings:
    """`scale` examples of each kind of input."""
    found = run(scale / 2_000, seed)
    parts = [found[name] for name in INPUTS]
    figures = {"refused": sum(part.get("refused", 0) for part in parts), "peak MiB": max(p["peak_mib"] for p in parts)}
    done = f"inputs of {len(INPUTS)} kinds, damaged or made up"
    return {"done": done, "times": scale * len(INPUTS), "lost": found["lost"], "figures": figures}


PROMISES = (Promise(14, "bad input gets a clear error (made up)", nothing_but_typed_errors, short=0, long=300),)
