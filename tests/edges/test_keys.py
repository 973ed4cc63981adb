"""Key formats: every known form of one key is the same key, and nothing else is a key or shows any part of one."""

import base64
import hashlib
import pickle
import string
import traceback

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstart.chain.keys import Wallet, parse_secret_key
from quickstart.chain.transactions import ObjectRef, TransactionData, TransferCoin
from quickstart.errors import EXIT_USAGE, KeyFormatError

KEY = bytes([0x11]) * 32
ADDRESS = "0881c07520943bbf13989b92892093c1b50672156fa5f873c22892701cb2e207"
BECH32 = "somaprivkey1qqg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zy2msvr"

# A few keys, the zero key among them, have a base58 text that is also hexadecimal; that text is not taken.
keys = st.binary(min_size=32, max_size=32).filter(
    lambda key: not set(base58.b58encode(key).decode().lower()) <= set(string.hexdigits)
)


def text_forms(key: bytes) -> list[str]:
    from soma_sdk import Keypair

    return [
        key.hex(),
        key.hex().upper(),
        "0x" + key.hex(),
        "0X" + key.hex().upper(),
        base58.b58encode(key).decode(),
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode(),
        Keypair.from_secret_key(key).to_encoded(),
        Keypair.from_secret_key(key).to_encoded().upper(),
    ]


@given(keys, st.sampled_from(["{}", " {}\n", '"{}"', "'{}'", "\t' {} '", "`{}`\r\n"]))
def test_every_form_of_a_key_is_read(key: bytes, paste: str) -> None:
    for form in text_forms(key):
        assert parse_secret_key(paste.format(form)) == key, form[:12]


def test_known_answers() -> None:
    assert parse_secret_key(BECH32) == KEY
    assert Wallet(KEY).address.hex() == ADDRESS


@given(keys)
def test_the_address_is_the_sdks(key: bytes) -> None:
    wallet = Wallet(key)
    assert wallet.address.hex() == wallet.keypair().address()


def test_a_signature_is_the_known_one() -> None:
    # soma-protocol §2: transfer of half a SOMA, bond coin and gas the same.
    wallet = Wallet(KEY)
    digest = bytes.fromhex("7654f982c0d4541c33b8a676e070d6ea00169946f65258b094f1fa4facb64a16")
    coin = ObjectRef(bytes([0x22]) * 32, 1, digest)
    data = TransactionData(TransferCoin(coin, 500_000_000, bytes([0x33]) * 32), wallet.address, (coin,)).encode()
    signed = wallet.sign(data)
    assert signed.startswith(b"\x01\x00\x00\x01" + data)
    signature = (
        "839023158da40eaab75f7cc6e61504db341ae188f1b173caa92b9c070214923e"
        "f4c7c42f7b16cea1030e613d0b6489dc7c63ec2a10a9532161046705db423000"
    )
    assert signed[len(data) + 4 :].hex().startswith("016100" + signature)


def test_bytes_that_are_no_transaction_are_not_signed() -> None:
    with pytest.raises(ValueError, match="unexpected end of input"):
        Wallet(KEY).sign(b"\x00\x09")


def test_a_wallet_shows_its_address_only() -> None:
    wallet = Wallet.generate()
    shown = f"{wallet!r} {wallet}"
    assert wallet.secret.hex() not in shown
    assert repr(wallet.secret) not in shown
    assert repr(wallet.address) in shown
    assert Wallet.generate() != wallet
    assert pickle.loads(pickle.dumps(wallet)) == wallet


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "an empty text"),
        (" '' ", "an empty text"),
        (KEY.hex()[:-1], "63 hexadecimal digits"),
        ("ab" * 22, "44 hexadecimal digits"),
        ("0x" + KEY.hex() + "00", "66 hexadecimal digits"),
        (base58.b58encode(KEY + b"\x01").decode(), "characters of base58"),
        (base64.b64encode(KEY * 2).decode(), "88 characters of base64"),
        (base64.b64encode(b"\xfb\xff" * 16).decode().rstrip("="), "43 characters of base64"),
        (BECH32[:-1] + "q", "wrong checksum"),
        (BECH32[:20] + BECH32[21:], "wrong checksum"),
        (BECH32[:-4] + "b" + BECH32[-3:], "character outside its alphabet"),
        (BECH32[:14] + BECH32[14:].upper(), "mixed case"),
        ("somaprivkey1", "wrong checksum"),
        ("abandon " * 11 + "about", "12 words (a mnemonic phrase"),
        ("§§§", "3 characters, some of no known alphabet"),
    ],
)
def test_what_is_no_key_is_named_by_its_look(text: str, seen: str) -> None:
    with pytest.raises(KeyFormatError) as caught:
        parse_secret_key(text)
    message = str(caught.value)
    assert seen in message
    assert "64 hexadecimal digits" in message and "somaprivkey1" in message and "base58" in message
    assert "\n" not in message
    assert caught.value.exit_code == EXIT_USAGE


def test_a_key_of_another_scheme_or_length_is_told_apart() -> None:
    with pytest.raises(KeyFormatError, match="another signature scheme"):
        parse_secret_key(encode_bech32(b"\x01" + KEY))
    with pytest.raises(KeyFormatError, match="another length"):
        parse_secret_key(encode_bech32(b"\x00" + KEY[:-1]))
    assert parse_secret_key(encode_bech32(b"\x00" + KEY)) == KEY


@given(st.text(max_size=120))
def test_any_text_is_a_key_or_a_key_format_error(text: str) -> None:
    try:
        assert len(parse_secret_key(text)) == 32
    except KeyFormatError as error:
        assert error.exit_code == EXIT_USAGE


@given(keys, st.integers(0, 8), st.integers(0, 200), st.sampled_from("a0zZ+/=1l_ \u00e9"))
def test_a_damaged_key_never_shows(key: bytes, form: int, position: int, wrong: str) -> None:
    text = text_forms(key)[form]
    position %= len(text)
    damaged = text[:position] + wrong + text[position + 1 :]
    try:
        parse_secret_key(damaged)
    except KeyFormatError as error:
        shown = "".join(traceback.format_exception(error))
        for start in range(len(damaged) - 9):
            piece = damaged[start : start + 10]
            assert piece not in shown or piece in "somaprivkey1..."


def encode_bech32(payload: bytes) -> str:
    """An encoder of its own (BIP 173), so that the decoder is not tested against itself."""
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    bits = "".join(f"{byte:08b}" for byte in payload)
    bits += "0" * (-len(bits) % 5)
    symbols = [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]
    prefix = "somaprivkey"
    values = [ord(c) // 32 for c in prefix] + [0] + [ord(c) % 32 for c in prefix] + symbols
    check = 1
    for value in values + [0] * 6:
        top = check // 2**25
        check = check % 2**25 * 32 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator * (top // 2**bit % 2)
    check ^= 1
    symbols += [check // 2 ** (5 * (5 - i)) % 32 for i in range(6)]
    return prefix + "1" + "".join(alphabet[symbol] for symbol in symbols)


def test_keys_are_drawn_from_the_system() -> None:
    drawn = {hashlib.sha256(Wallet.generate().secret).digest() for _ in range(50)}
    assert len(drawn) == 50
