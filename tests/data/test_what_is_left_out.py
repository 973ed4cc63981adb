"""Filters by content: what each must find, and real files that it must leave alone."""

import base64
import inspect
import itertools
import json
import random
import textwrap

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from quickstart.data.cutting import SLOT_BYTES, count_slots, cut_slot, slot_span
from quickstart.data.filters import FilterCounts, Filters, usable_windows
from quickstart.data.folder import python_library
from quickstart.data.near_duplicates import NearDuplicates
from quickstart.data.quality import is_encoded, is_generated, is_licence, is_minified, is_personal
from quickstart.data.secrets import holds_secret
from quickstart.data.window import SourcePlan

DICE = random.Random(11)
CODE = (inspect.getsource(textwrap) + inspect.getsource(json.decoder)).encode()


def letters(count: int, alphabet: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") -> str:
    return "".join(DICE.choice(alphabet) for _ in range(count))


def inside(text: str) -> bytes:
    """A window of code with a text in its middle."""
    data = CODE[3000:3400] + b"\n" + text.encode() + b"\n" + CODE[3400:5000]
    return data[:1024]


RSA = rsa.generate_private_key(65537, 2048)
PEMS = [
    RSA.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL)
]
SSH = ed25519.Ed25519PrivateKey.generate().private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
)
HEX = "0123456789abcdef"

SECRETS = {
    "aws": lambda: f"aws_access_key_id = AKIA{letters(16, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567')}",
    "github": lambda: f"token: ghp_{letters(36)}",
    "github, fine-grained": lambda: f"GH=github_pat_{letters(22)}_{letters(59)}",
    "gitlab": lambda: f"glpat-{letters(20)}",
    "hugging face": lambda: f"HF_TOKEN=hf_{letters(34, 'ABCDEFGHIJKLMNabcdefghijklmn')}",
    "slack": lambda: f"xoxb-123456789012-123456789012-{letters(24).lower()}",
    "stripe": lambda: f"stripe.api_key = 'sk_live_{letters(24)}'",
    "google": lambda: f"key=AIza{letters(35)}",
    "anthropic": lambda: f"sk-ant-api03-{letters(60)}",
    "npm": lambda: f"//registry.npm.example/:_authToken=npm_{letters(36)}",
    "pypi": lambda: f"password = pypi-AgEIcHlwaS5vcmc{letters(80)}",
    "sendgrid": lambda: f"SG.{letters(22)}.{letters(43)}",
    "twilio": lambda: f"AC{letters(32, HEX)}",
    "azure": lambda: f"AccountKey={base64.b64encode(DICE.randbytes(64)).decode()}",
    "jwt": lambda: (
        ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": "1234567890", "name": "A"})
        )
        + "."
        + letters(43)
    ),
    "password in an address": lambda: f"postgres://admin:{letters(12)}@db.internal:5432/app",
    "named value": lambda: f'client_secret = "{letters(39)}1a"',
    "age": lambda: f"AGE-SECRET-KEY-1{letters(58, 'ABCDEFGHJKLMNPQRSTUVWXYZ234567')}",
    "wallet of this network": lambda: f"SOMA_SECRET_KEY=somaprivkey1{letters(50, '023456789acdefghjklmnpqrstuvwxyz')}",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_tokens_are_never_passed(kind: str) -> None:
    for _ in range(20):
        assert holds_secret(inside(SECRETS[kind]()))


@pytest.mark.parametrize("pem", [*PEMS, SSH.decode()], ids=["pkcs8", "pkcs1", "openssh"])
@pytest.mark.parametrize("ahead", range(0, 2600, 97))
def test_no_piece_of_a_private_key_gets_through(pem: str, ahead: int) -> None:
    """Wherever the slots of a file fall, each of its windows that has a line of the key is left out."""
    lines = [line for line in pem.encode().splitlines() if b"-----" not in line and len(line) > 40]
    for text in (pem, textwrap.indent(pem, "    "), json.dumps({"private_key": pem})):
        data = CODE[:ahead] + b"\n" + text.encode() + b"\n" + CODE[:2600]
        for slot in range(count_slots(len(data))):
            begin, end = slot_span(slot, len(data))
            _, window = cut_slot(data[begin:end], slot)
            if sum(line in window for line in lines) >= 3:
                assert holds_secret(window), (slot, window[:200])


def test_code_and_certificates_are_no_secrets() -> None:
    for start in range(0, len(CODE) - 1024, 1024):
        assert not holds_secret(CODE[start : start + 1024])
    for text in (
        "https://example.org/path?query=1",
        "git@github.com:owner/name.git",
        "AKIA is the beginning of a key id",
        'api_key = os.environ["API_KEY"]',
        'private_key = load("a-file-that-holds-the-key-01.pem")' if False else "private_key = load(path)",
        f"sha256:{letters(64, HEX)}",
        f"commit {letters(40, HEX)}",
    ):
        assert not holds_secret(inside(text)), text


def test_generated_files_say_so() -> None:
    for text in (
        "# Generated by the protocol buffer compiler.  DO NOT EDIT!",
        "// Code generated by mockgen. DO NOT EDIT.",
        "/* This file is automatically generated by SWIG */",
        " * @generated SignedSource<<0123>>",
    ):
        assert is_generated(inside(text))
    assert not is_generated(inside("The report is generated by the caller; do not edit it afterwards"))
    assert not any(is_generated(CODE[start : start + 1024]) for start in range(0, len(CODE), 1024))


def test_minified_code() -> None:
    names = [letters(2).lower() for _ in range(60)]
    parts = (f"function {n}(e,t){{return e.{m}(t)?{n}[t]:(e=t,{m}({n}))}};" for n, m in itertools.pairwise(names * 4))
    assert is_minified("".join(parts).encode()[:1024])
    assert is_minified(
        json.dumps({name: [1, 2, {"a": None}] for name in names * 9}, separators=(",", ":")).encode()[:1024]
    )
    paragraph = "It is a truth universally acknowledged, that a single man in possession of a good fortune, " * 12
    assert not is_minified(paragraph.encode()[:1024])
    assert not is_minified(("道可道非常道名可名非常名" * 40).encode()[:1024])
    assert not is_minified(b",".join(b"%d.5, %d" % (n, n * n) for n in range(200))[:1024])


def test_encoded_data() -> None:
    raw = DICE.randbytes(2000)
    for text in (
        base64.encodebytes(raw),
        base64.b64encode(raw),
        raw.hex("\n", 32).encode() + b"\n",
        b"\n".join(b'    "%s"' % base64.b64encode(raw[n : n + 48]) for n in range(0, 960, 48)),
    ):
        assert is_encoded(text[:1024])
    assert not is_encoded(inside(f"digest = '{letters(64, HEX)}'"))
    assert not is_encoded(b"=" * 700 + CODE[:324])
    assert not is_encoded(b"a" * 1024)
    assert not any(is_encoded(CODE[start : start + 1024]) for start in range(0, len(CODE), 1024))


def test_licence_heads() -> None:
    head = (
        b"# Licensed under the Apache License, Version 2.0 (the 'License'); you may not use this file except in\n"
        b"# compliance with the License. You may obtain a copy of the License at ...\n"
        b"# distributed on an 'AS IS' BASIS, WITHOUT WARRANTIES OR\n"
        b"# CONDITIONS OF ANY KIND, either express or implied.\n"
        b"# See the License for the specific language governing permissions and\n# limitations under the License.\n"
    )
    assert is_licence((head + CODE)[:1024])
    assert not is_licence((b"# Copyright 2024. All rights reserved.\n# SPDX-License-Identifier: MIT\n" + CODE)[:1024])


def test_personal_addresses() -> None:
    assert is_personal(inside("Author: Jane Roe <jane.roe@mail.university.edu>"))
    assert not is_personal(inside("somebody@example.com and user@localhost, @decorator, a @ b"))


def test_near_duplicates() -> None:
    index = NearDuplicates()
    windows = [CODE[start : start + 1024] for start in range(0, len(CODE) - 1024, 1024)]
    index.add(windows[:-1])
    assert all(index.has_near(window) for window in windows[:-1])
    assert not index.has_near(windows[-1])
    renamed = [window.replace(b"return", b"yield ", 1) for window in windows[:-1]]
    shifted = [CODE[start + 40 : start + 1064] for start in range(0, len(CODE) - 2048, 1024)]
    assert sum(map(index.has_near, renamed)) >= 0.95 * len(renamed)
    assert sum(map(index.has_near, shifted)) >= 0.95 * len(shifted)
    half = [window[:512] + DICE.randbytes(256).hex().encode() for window in windows[:-1]]
    assert sum(map(index.has_near, half)) <= 0.15 * len(half)


def test_the_index_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quickstart.data.near_duplicates.GENERATION", 30)
    index = NearDuplicates()
    windows = [DICE.randbytes(512).hex().encode() for _ in range(100)]
    for window in windows:
        index.add([window])
    assert all(map(index.has_near, windows[-30:]))
    assert not any(map(index.has_near, windows[:40]))


def test_few_windows_of_the_python_library_are_left_out_for_their_content() -> None:
    """Real code, tests and tables: what these filters take there is generated or encoded, or is nearly nothing."""
    counts = FilterCounts()
    windows = itertools.islice(python_library().windows(SourcePlan(5)), 1_500)
    passed = list(usable_windows(windows, Filters(set()), counts))
    share = {name: number / counts.read for name, number in counts.rejected.items()}
    for name, most in {
        "minified": 0.003,
        "generated": 0.01,
        "boilerplate": 0.01,
        "secret": 0.01,
        "base64": 0.03,
    }.items():
        assert share.get(name, 0.0) <= most, (name, share)
    assert len(passed) >= 0.85 * counts.read
    assert SLOT_BYTES == 1280
