"""One model's weights: encryption, and a parser that trusts nothing (`soma-protocol` §13, design.md's
contract).
"""

import re
from collections.abc import Mapping

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from quickstart.chain.ids import blake2b_256
from quickstart.errors import WeightsError
from quickstart.scoring.contract import VOCABULARY
from quickstart.scoring.engine import Architecture, Weights

KEY_BYTES = 32
NETWORK_WIDTH = 2048
NETWORK_HEADS = 8
SMALL_HEADS = 4
_LAYER_NAME = re.compile(r"encoder\.layers\.(0|[1-9][0-9]{0,3})\.")


def encrypt(plain: bytes, key: bytes) -> bytes:
    """AES-256-CTR with a zero IV, as models are published before their key is revealed.

    Raises:
        WeightsError: the key is not 32 bytes.
    """
    if len(key) != KEY_BYTES:
        raise WeightsError(f"the decryption key has {len(key)} bytes instead of {KEY_BYTES}")
    return Cipher(AES(key), CTR(bytes(16))).encryptor().update(plain)


def decrypt(encrypted: bytes, key: bytes) -> bytes:
    """Inverse of `encrypt`: in counter mode the same operation. A wrong key gives noise, which
    `parse_weights` refuses.
    """
    return encrypt(encrypted, key)


def parse_weights(safetensors_bytes: bytes) -> Weights:
    """Reads and checks decrypted weights: exact names and shapes, float32, finite. Nothing is executed.

    Raises:
        WeightsError: not safetensors, a missing, unknown, mis-shaped or non-float32 tensor, or NaN or
        infinity in one.
    """
    try:
        entries = deserialize(safetensors_bytes)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise WeightsError(f"not a safetensors file (damaged, or a wrong key): {error}") from error
    shapes = {name: tuple(entry["shape"]) for name, entry in entries}
    architecture = _architecture(shapes)
    _check_shapes(shapes, expected_shapes(architecture))
    tensors = {name: _read_tensor(name, entry["dtype"], entry["data"], shapes[name]) for name, entry in entries}
    return Weights(blake2b_256(safetensors_bytes), architecture, tensors)


def expected_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a model; linear weights are (in, out)."""
    width, feed_forward = architecture.width, architecture.feed_forward
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (VOCABULARY, width),
        "final_norm.gamma": (width,),
        "final_norm.beta": (width,),
        "predictor.weight": (width, VOCABULARY),
        "predictor.bias": (VOCABULARY,),
    }
    for k in range(architecture.layers):
        layer = f"encoder.layers.{k}"
        shapes |= {f"{layer}.{norm}.{part}": (width,) for norm in ("norm_1", "norm_2") for part in ("gamma", "beta")}
        for part in ("query", "key", "value", "output"):
            shapes[f"{layer}.attention.{part}.weight"] = (width, width)
            shapes[f"{layer}.attention.{part}.bias"] = (width,)
        shapes[f"{layer}.pwff.linear_inner.weight"] = (width, feed_forward)
        shapes[f"{layer}.pwff.linear_inner.bias"] = (feed_forward,)
        shapes[f"{layer}.pwff.linear_outer.weight"] = (feed_forward, width)
        shapes[f"{layer}.pwff.linear_outer.bias"] = (width,)
    return shapes


def _architecture(shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    """Width and feed-forward off the shapes, layers counted; heads are not in the file: 8 at the network's
    width, else 4.
    """
    width = _size(shapes, "embedding.weight", 1)
    feed_forward = _size(shapes, "encoder.layers.0.pwff.linear_inner.weight", 1)
    layers = len({match[1] for name in shapes if (match := _LAYER_NAME.match(name))})
    heads = NETWORK_HEADS if width == NETWORK_WIDTH else SMALL_HEADS
    if width % (2 * heads):
        raise WeightsError(f"width {width} does not divide into {heads} heads of an even size")
    return Architecture(width, layers, feed_forward, heads)


def _size(shapes: Mapping[str, tuple[int, ...]], name: str, axis: int) -> int:
    shape = shapes.get(name)
    if shape is None:
        raise WeightsError(f"tensor {name} is missing")
    if len(shape) != 2 or 0 in shape:
        raise WeightsError(f"tensor {name} has shape {shape}, expected two sizes above zero")
    return shape[axis]


def _check_shapes(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    if missing := sorted(expected.keys() - shapes.keys()):
        raise WeightsError(f"{len(missing)} tensors are missing, first {missing[0]}")
    if unknown := sorted(shapes.keys() - expected.keys()):
        raise WeightsError(f"{len(unknown)} unknown tensors, first {unknown[0][:80]!r}")
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise WeightsError(f"tensor {name} has shape {shapes[name]} instead of {shape}")


def _read_tensor(name: str, dtype: str, data: bytes | bytearray, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if dtype != "F32":
        raise WeightsError(f"tensor {name} is {dtype}, expected F32")
    tensor: NDArray[np.float32] = np.frombuffer(data, "<f4").reshape(shape).astype(np.float32, copy=False)
    if not np.isfinite(tensor).all():
        raise WeightsError(f"tensor {name} holds NaN or infinity")
    tensor.flags.writeable = False
    return tensor
