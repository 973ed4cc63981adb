"""Hostile input: everything that is parsed from outside, fed with noise and with damaged good examples.

Nothing but a typed error may come out, and no input may take memory out of proportion.
"""

import json
import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from safetensors.numpy import save

from quickstart.chain.addresses import refuse_private
from quickstart.chain.client import _active_models, _epoch
from quickstart.chain.effects import effects_from_sdk
from quickstart.chain.objects import TargetContents
from quickstart.chain.replies import reply_of
from quickstart.chain.transactions import Manifest
from quickstart.chain.transfers import RETRY_AFTER_CAP_SECONDS, retry_after
from quickstart.errors import NetworkError, QuickstartError, WeightsError
from quickstart.scoring.engine import Architecture
from quickstart.scoring.weights import expected_shapes, parse_weights
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


def _read_target(data: bytes) -> None:
    with reply_of("http://node"):
        TargetContents.decode(data)


def _read_retry_after(text: str) -> None:
    seconds = retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_CAP_SECONDS


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

INPUTS: dict[str, tuple[Callable[[], st.SearchStrategy[Any]], Callable[[Any], Any], type[QuickstartError]]] = {
    "damaged weights": (lambda: damaged(good_weights()), parse_weights, WeightsError),
    "safetensors headers": (safetensors_files, parse_weights, WeightsError),
    "targets": (lambda: damaged(good_target()), _read_target, NetworkError),
    "system states": (lambda: replies, _read_state, NetworkError),
    "models": (lambda: replies, _read_models, NetworkError),
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
    examples = max(50, round(2_000 * scale))
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


PROMISES = (Promise(14, "bad input gets a clear error", nothing_but_typed_errors, short=0, long=1_000),)
