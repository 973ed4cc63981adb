"""The wire's files, the BCS decoder, masks."""

import importlib.util
from pathlib import Path

import pytest

from quickstart.chain.transactions import OtherKind, PayCoins, TransactionData
from quickstart.devnet.decoding import decode_transaction
from quickstart.devnet.masks import mask_tree, masked
from quickstart.devnet.views import short_id
from quickstart.wire import soma_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]


def test_generating_again_gives_the_committed_files(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_wire", ROOT / "scripts" / "generate_wire.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.generate(tmp_path)
    for name in script.GENERATED:
        assert (tmp_path / name).read_bytes() == (script.WIRE / name).read_bytes(), f"run {spec.origin}"


@pytest.mark.parametrize(
    ("index", "payload"),
    [
        (3, b"\x01a\x01b\x01c\x01d\x01e\x01f\x01g\x01h"),
        (4, b"\x02ab"),
        (5, b"\x05" * 32),
        (7, b"\x00\x01\x02ab" + b"\x00" * 6),
        (8, b"\x01" * 8),
        (12, b"\x01" * 32 + b"\x02" * 32 + b"\x03" * 8 + b"\x20" + b"\x04" * 32 + b"\x00"),
        (13, b"\x02" * 32 + b"\x03" * 8 + b"\x20" + b"\x04" * 32),
    ],
)
def test_validator_kinds_keep_their_bytes(index: int, payload: bytes) -> None:
    encoded = TransactionData(OtherKind(index, payload), b"\x09" * 32, ()).encode()
    decoded = decode_transaction(encoded)
    assert isinstance(decoded.kind, OtherKind)
    assert decoded.kind.payload == payload
    assert decoded.encode() == encoded


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b + b"\x00", lambda b: b"\x01" + b[1:], lambda b: b"\x00\x63" + b[2:]]
)
def test_damaged_transactions_are_refused(damage) -> None:  # type: ignore[no-untyped-def]
    encoded = TransactionData(PayCoins((), (), ()), b"\x09" * 32, ()).encode()
    with pytest.raises(ValueError, match=r"BCS|bytes after|unknown"):
        decode_transaction(damage(encoded))


def test_masks_keep_what_is_named_and_nothing_else() -> None:
    message = pb.Checkpoint(sequence_number=5, digest="d")
    message.transactions.add(digest="t").effects.epoch = 3
    kept = masked(message, mask_tree(["sequence_number", "transactions.digest"]))
    assert kept == pb.Checkpoint(sequence_number=5, transactions=[pb.ExecutedTransaction(digest="t")])


def test_a_parent_in_a_mask_keeps_its_fields() -> None:
    assert mask_tree(["a.b", "a", "c.d"]) == {"a": {}, "c": {"d": {}}}
    message = pb.Checkpoint(sequence_number=5)
    assert masked(message, mask_tree(["*"])).sequence_number == 5


def test_ids_of_targets_lose_their_leading_zeros() -> None:
    assert short_id(b"\x00\x0a" + bytes(29) + b"\x01") == "0xa" + "0" * 58 + "01"
    assert short_id(bytes(32)) == "0x0"
