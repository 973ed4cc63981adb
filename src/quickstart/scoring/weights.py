"""One model's weights: encryption, and a parser that trusts nothing (`soma-protocol` §13, design.md's
contract). Whatever is as large as a file passes in pieces.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import IO, BinaryIO

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from quickstart.chain.ids import Id32
from quickstart.errors import WeightsError
from quickstart.scoring.contract import VOCABULARY
from quickstart.scoring.engine import Architecture, Weights
from quickstart.scoring.tensor_file import Entry, HeldBytes, OpenFile, Source, TensorFile, read_entries
from quickstart.units import MIB

KEY_BYTES = 32
NETWORK_WIDTH = 2048
NETWORK_HEADS = 8
SMALL_HEADS = 4
_BLOCK_BYTES = 4 * MIB
_LAYER_NAME = re.compile(r"encoder\.layers\.(0|[1-9][0-9]{0,3})\.")


def encrypt(plain: bytes, key: bytes) -> bytes:
    """AES-256-CTR with a zero IV, as models are published before their key is revealed.

    Raises:
        WeightsError: the key is not 32 bytes.
    """
    return _cipher(key).update(plain)


def decrypt(encrypted: bytes, key: bytes) -> bytes:
    """Inverse of `encrypt`: in counter mode the same operation. A wrong key gives noise, which
    `parse_weights` refuses.
    """
    return encrypt(encrypted, key)


def decrypt_weights(encrypted: BinaryIO, plain: BinaryIO, key: bytes) -> Weights:
    """Decrypts a model's file into `plain`, an empty file, and opens what is in it (`open_weights`). Neither is ever
    in memory as a whole.

    Raises:
        WeightsError: the key is not 32 bytes, or what `open_weights` refuses.
        OSError: a file cannot be read or written.
    """
    cipher = _cipher(key)
    while block := encrypted.read(_BLOCK_BYTES):
        plain.write(cipher.update(block))
    plain.flush()
    return open_weights(OpenFile(plain.fileno()))


def encrypt_file(plain: BinaryIO, encrypted: IO[bytes], key: bytes) -> Id32:
    """Encrypts a file into `encrypted`, an empty one, neither ever in memory as a whole; BLAKE2b-256 of what was
    written.

    Raises:
        WeightsError: the key is not 32 bytes.
        OSError: a file cannot be read or written.
    """
    cipher, digest = _cipher(key), hashlib.blake2b(digest_size=32)
    while block := plain.read(_BLOCK_BYTES):
        sealed = cipher.update(block)
        encrypted.write(sealed)
        digest.update(sealed)
    encrypted.flush()
    return digest.digest()


def _cipher(key: bytes) -> CipherContext:
    if len(key) != KEY_BYTES:
        raise WeightsError(f"the decryption key has {len(key)} bytes instead of {KEY_BYTES}")
    return Cipher(AES(key), CTR(bytes(16))).encryptor()


def parse_weights(safetensors_bytes: bytes) -> Weights:
    """Reads and checks decrypted weights: exact names and shapes, float32, finite. Nothing is executed.

    Raises:
        WeightsError: not safetensors, a missing, unknown, mis-shaped or non-float32 tensor, or NaN or
        infinity in one.
    """
    weights = _checked(HeldBytes(safetensors_bytes))
    tensors = dict(weights.tensors)
    for tensor in tensors.values():
        tensor.flags.writeable = False
    return Weights(weights.checksum, weights.architecture, tensors)


def open_weights(file: Source) -> Weights:
    """The same for a file, of which only a few megabytes are in memory: its tensors are read when they are asked for,
    anew each time.

    Raises:
        WeightsError: as `parse_weights`.
        OSError: the file cannot be read; StateError if so when a tensor is asked for.
    """
    return _checked(file)


def _checked(source: Source) -> Weights:
    entries = read_entries(source)
    shapes = {entry.name: entry.shape for entry in entries}
    architecture = _architecture(shapes)
    _check_shapes(shapes, expected_shapes(architecture))
    for entry in entries:
        if entry.dtype != "F32":
            raise WeightsError(f"tensor {entry.name} is {entry.dtype}, expected F32")
    return Weights(_checksum(source, entries), architecture, TensorFile(source, entries))


def _checksum(source: Source, entries: Sequence[Entry]) -> Id32:
    """BLAKE2b-256 of the file, of which every number is looked at on the way: tensors follow each other without a
    gap, so all that comes after the header is float32.
    """
    digest = hashlib.blake2b(digest_size=32)
    offset = entries[0].begin
    head = bytearray(offset)
    source.read_into(memoryview(head), 0)
    digest.update(head)
    block = bytearray(_BLOCK_BYTES)
    while offset < source.size:
        part = memoryview(block)[: min(len(block), source.size - offset)]
        source.read_into(part, offset)
        digest.update(part)
        finite = np.isfinite(np.frombuffer(part, "<f4"))
        if not finite.all():
            place = offset + 4 * int(finite.argmin())
            name = next(entry.name for entry in entries if entry.begin <= place < entry.end)
            raise WeightsError(f"tensor {name} holds NaN or infinity")
        offset += len(part)
    return digest.digest()


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
