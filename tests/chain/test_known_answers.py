"""The known answers of `soma-protocol` §2: every one was confirmed by the SDK."""

import arrgen
import numpy as np
import pytest
from soma_sdk import Keypair

from quickstart.chain import bcs
from quickstart.chain.ids import (
    ZERO_ID,
    address_of,
    blake2b_256,
    derive_id,
    format_digest,
    parse_digest,
    target_seed,
)
from quickstart.chain.objects import ObjectType, SharedOwner, TargetContents, coin_digest, object_digest
from quickstart.chain.transactions import Manifest, ObjectRef, SubmitData, TransactionData, TransferCoin
from quickstart.scoring.weights import encrypt

SECRET = "11" * 32
PUBLIC_KEY = bytes.fromhex("d04ab232742bb4ab3a1368bd4615e4e6d0224ab71a016baf8520a332c9778737")
ADDRESS = bytes.fromhex("0881c07520943bbf13989b92892093c1b50672156fa5f873c22892701cb2e207")
COIN_DIGEST = bytes.fromhex("7654f982c0d4541c33b8a676e070d6ea00169946f65258b094f1fa4facb64a16")
COIN = ObjectRef(b"\x22" * 32, 1, COIN_DIGEST)
TRANSFER = TransactionData(TransferCoin(COIN, 500_000_000, b"\x33" * 32), ADDRESS, (COIN,))


def test_address_of_a_key() -> None:
    assert address_of(PUBLIC_KEY) == ADDRESS
    assert Keypair.from_secret_key(SECRET).address() == ADDRESS.hex()


def test_hash_and_its_text() -> None:
    digest = blake2b_256(b"hello")
    assert digest.hex() == "324dcf027dd4a30a932c441f365a25e86b173defa4b8e58948253471b81b72cf"
    assert format_digest(digest) == "4PNCZERNLKAqwSYHhZpb7B4GE34eiYDPXGgeNKWNNaBp"
    assert parse_digest("4PNCZERNLKAqwSYHhZpb7B4GE34eiYDPXGgeNKWNNaBp") == digest


def test_weights_encryption() -> None:
    assert encrypt(bytes(16), b"\x01" * 32).hex() == "7298caa565031eadc6ce23d23ea66378"
    assert format_digest(b"\x01" * 32) == "4vJ9JU1bJJE96FWSJKvHsmmFADCg4gpZQff4P3bkLKi"


def test_tensor_and_its_commitment() -> None:
    tensor = bcs.tensor([0.5, -1.0])
    assert tensor.hex() == "00080000003f000080bf010200000000000000"
    assert format_digest(blake2b_256(tensor)) == "CMpaExzHeKfSX94Wpt5WJW4UmvVNYwhaMrwJCfwYiY6F"


def test_derived_ids_and_seeds() -> None:
    assert derive_id(ZERO_ID, 0).hex() == "4a1931803561f431decab002e7425f0a8531d5e456a1a47fd9998a2530c0f800"
    assert target_seed(ZERO_ID, 0) == 3_599_608_884_587_731_274


def test_normal_array_starts_the_same_at_any_length() -> None:
    first = [0.06942791, 0.13293812, 0.26257637, -0.22530088]
    for length in (4, 64):
        values = np.asarray(arrgen.normal_array(42, [length], 0.0, 1.0))
        assert values.dtype == np.float32
        assert values[:4] == pytest.approx(first, abs=1e-8)


def test_coin_digest() -> None:
    digest = coin_digest(b"\x22" * 32, 1_000_000_000, 1, ADDRESS, ZERO_ID)
    assert digest == COIN_DIGEST
    assert format_digest(digest) == "8xvG6p5Htz5jN8TtqpzEfSDHc1R4bqgF1iruzgjSZfCq"


def test_transfer_bytes_digest_and_signing_hash() -> None:
    reference = "22" * 32 + "0100000000000000" + "20" + COIN_DIGEST.hex()
    amount = "0065cd1d00000000"
    expected = "0009" + reference + "01" + amount + "33" * 32 + ADDRESS.hex() + "01" + reference
    assert TRANSFER.encode().hex() == expected
    assert format_digest(TRANSFER.digest()) == "FoaF4z9t4z6eh4FAyQyN9Z73krvuLosEQYXUnLejccHR"
    assert TRANSFER.signing_hash().hex() == "537e553b804edbf56caa52443090b6eb867a2152627b65e1fb3332bca9f85622"


def test_the_sdk_signs_our_bytes_with_the_known_signature() -> None:
    signature = bytes.fromhex(
        "839023158da40eaab75f7cc6e61504db341ae188f1b173caa92b9c070214923e"
        "f4c7c42f7b16cea1030e613d0b6489dc7c63ec2a10a9532161046705db423000"
    )
    signed = bytes(Keypair.from_secret_key(SECRET).sign(TRANSFER.encode()))
    intent, tail = b"\x01\x00\x00\x01", b"\x01\x61\x00" + signature + PUBLIC_KEY
    assert signed == intent + TRANSFER.encode() + tail


def test_submission_bytes_and_digest() -> None:
    claim = SubmitData(
        target_id=b"\x44" * 32,
        manifest=Manifest("https://h/d", blake2b_256(b"hello"), 5),
        model_id=b"\x55" * 32,
        embedding=np.array([0.5, -1.0], np.float32),
        distance=0.25,
        loss=(1.5,),
        bond_coin=COIN,
    )
    transaction = TransactionData(claim, ADDRESS, (COIN,))
    assert len(transaction.encode()) == 349
    assert format_digest(transaction.digest()) == "DfCJk6ZpbtLRu1SRtf62uSRBTTQW9SkY5wUEGtzekCJt"


def test_target_object_digest() -> None:
    target = TargetContents(
        embedding=np.array([0.5, -1.0], np.float32),
        model_ids=(b"\x55" * 32,),
        distance_threshold=1.05,
        reward=7,
        generation_epoch=3,
    )
    digest = object_digest(ObjectType.TARGET, b"\x44" * 32, target.encode(), 1, SharedOwner(1), ZERO_ID)
    assert format_digest(digest) == "2kSUtqeKXWfckwQUJVozV1nLMKDxRNtMuodb7d5o3j4f"
