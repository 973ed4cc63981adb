"""Weights come from strangers: every malformed, hostile or wrongly decrypted file is refused with a reason."""

import json
import pickle
import struct
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from quickstart.chain.ids import blake2b_256
from quickstart.errors import WeightsError
from quickstart.scoring.engine import Architecture
from quickstart.scoring.weights import decrypt, encrypt, expected_shapes, parse_weights

KEY = bytes(range(32))


def test_a_trained_model_is_read_as_it_is(python_file: bytes) -> None:
    weights = parse_weights(python_file)
    assert weights.architecture == Architecture(width=64, layers=2, feed_forward=128, heads=4)
    assert weights.checksum == blake2b_256(python_file)
    assert {name: tensor.shape for name, tensor in weights.tensors.items()} == expected_shapes(weights.architecture)
    assert all(tensor.dtype == np.float32 and not tensor.flags.writeable for tensor in weights.tensors.values())


def test_the_network_has_eight_heads_and_others_four(tiny_tensors: Any) -> None:
    assert parse_weights(save(tiny_tensors)).architecture == Architecture(16, 1, 32, 4)
    shapes = expected_shapes(Architecture(2048, 1, 4, 8))
    wide = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    assert parse_weights(save(wide)).architecture == Architecture(2048, 1, 4, 8)


def test_encryption_is_aes_256_in_counter_mode_from_zero(python_file: bytes) -> None:
    # NIST's known answer for AES-256: the first key-stream block is the encryption of the zero counter.
    assert encrypt(bytes(16), bytes(32)).hex() == "dc95c078a2408989ad48a21492842087"
    encrypted = encrypt(python_file, KEY)
    assert encrypted != python_file
    assert decrypt(encrypted, KEY) == python_file


def test_a_wrong_key_is_refused(python_file: bytes) -> None:
    with pytest.raises(WeightsError, match="wrong key"):
        parse_weights(decrypt(encrypt(python_file, KEY), bytes(32)))
    with pytest.raises(WeightsError, match="31 bytes instead of 32"):
        decrypt(python_file, KEY[:31])


class Boom:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was executed",))


def not_safetensors(python_file: bytes) -> dict[str, bytes]:
    header_length = struct.unpack("<Q", python_file[:8])[0]
    return {
        "empty": b"",
        "short": python_file[:7],
        "header cut off": python_file[:100],
        "data cut off": python_file[:-1],
        "data too long": python_file + b"\0",
        "header larger than the file": struct.pack("<Q", 2**40) + python_file[8:],
        "header of 2**64 - 1 bytes": b"\xff" * 8 + python_file[8:],
        "header not JSON": python_file[:8] + b"\xff" * header_length + python_file[8 + header_length :],
        "pickle": pickle.dumps(Boom()),
        "html": b"<html><body>404 Not Found</body></html>",
    }


@pytest.mark.parametrize("kind", not_safetensors(bytes(8) + bytes(100)))
def test_what_is_not_safetensors_is_refused(python_file: bytes, kind: str) -> None:
    with pytest.raises(WeightsError, match="not a safetensors file"):
        parse_weights(not_safetensors(python_file)[kind])


def header_with(offsets: tuple[int, int]) -> bytes:
    """A file of one tensor whose header claims these data offsets."""
    header = json.dumps({"embedding.weight": {"dtype": "F32", "shape": [264, 16], "data_offsets": offsets}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


@pytest.mark.parametrize("offsets", [(0, 264 * 16 * 4), (2**60, 2**60 + 264 * 16 * 4), (16, 0), (-1, 5)])
def test_offsets_outside_the_file_are_refused(offsets: tuple[int, int]) -> None:
    with pytest.raises(WeightsError, match="not a safetensors file"):
        parse_weights(header_with(offsets))


def without(name: str) -> Any:
    return lambda tensors: tensors.pop(name)


def with_tensor(name: str, tensor: Any) -> Any:
    return lambda tensors: tensors.update({name: tensor})


def spoiled(name: str, value: float) -> Any:
    return lambda tensors: tensors[name].flat.__setitem__(3, value)


def in_half_precision(tensors: Any) -> None:
    tensors["final_norm.gamma"] = tensors["final_norm.gamma"].astype(np.float16)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("embedding.weight"), "tensor embedding.weight is missing"),
        (without("final_norm.beta"), "1 tensors are missing, first final_norm.beta"),
        (without("encoder.layers.0.pwff.linear_inner.weight"), "linear_inner.weight is missing"),
        (with_tensor("extra", np.zeros(1, np.float32)), "1 unknown tensors, first 'extra'"),
        (with_tensor("encoder.layers.2.norm_1.gamma", np.zeros(16, np.float32)), "tensors are missing"),
        (with_tensor("encoder.layers.9999.norm_1.gamma", np.zeros(16, np.float32)), "tensors are missing"),
        (with_tensor("predictor.bias", np.zeros(263, np.float32)), r"has shape \(263,\) instead of \(264,\)"),
        (with_tensor("predictor.weight", np.zeros((264, 16), np.float32)), r"instead of \(16, 264\)"),
        (with_tensor("embedding.weight", np.zeros(264, np.float32)), "expected two sizes above zero"),
        (with_tensor("embedding.weight", np.zeros((264, 0), np.float32)), "expected two sizes above zero"),
        (with_tensor("embedding.weight", np.zeros((264, 18), np.float32)), "does not divide into 4 heads"),
        (with_tensor("embedding.weight", np.zeros((264, 12), np.float32)), "does not divide into 4 heads"),
        (in_half_precision, "final_norm.gamma is F16, expected F32"),
        (spoiled("predictor.bias", np.nan), "tensor predictor.bias holds NaN or infinity"),
        (spoiled("final_norm.gamma", np.inf), "tensor final_norm.gamma holds NaN or infinity"),
    ],
)
def test_a_malformed_model_is_refused_with_the_reason(tiny_tensors: Any, change: Any, reason: str) -> None:
    change(tiny_tensors)
    with pytest.raises(WeightsError, match=reason):
        parse_weights(save(tiny_tensors))
