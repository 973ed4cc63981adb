"""Real kinds of content, and each reason counted."""

import base64
import hashlib
import inspect
import random
import textwrap
import zlib
from collections.abc import Iterator

import pytest

from quickstart.chain.ids import blake2b_256
from quickstart.data.filter_names import BINARY, DUPLICATE, NEARLY_EMPTY, REPETITIVE
from quickstart.data.filters import FilterCounts, Filters, reject_reason, usable_windows
from quickstart.data.window import Provenance, Window

RANDOM = random.Random(5)


def fill(text: str | bytes) -> bytes:
    """Exactly one window: the text again and again, numbered, so that it does not repeat itself."""
    unit = text.encode() if isinstance(text, str) else text
    return b"".join(unit + b" %d\n" % RANDOM.randrange(10**9) for _ in range(1 + 1024 // len(unit)))[:1024]


CODE = inspect.getsource(textwrap).encode()
PROSE = {
    "english": "It was the best of times, it was the worst of times, it was the age of wisdom.",
    "russian": "Все счастливые семьи похожи друг на друга, каждая несчастливая по-своему.",
    "chinese": "道可道，非常道。名可名，非常名。无名天地之始；有名万物之母。",
    "arabic": "كان يا ما كان في قديم الزمان وسالف العصر والأوان ملك من الملوك",
    "hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतंत्रता प्राप्त है।",
    "emoji": "🦉 night, 🌞 day, 🌧 rain, 🌈 rainbow, 🦋 butterfly, 🐝 bee",
}


@pytest.mark.parametrize("language", PROSE)
@pytest.mark.parametrize("cut", range(4), ids=lambda cut: f"cut{cut}")
def test_prose_passes_wherever_it_is_cut(language: str, cut: int) -> None:
    text = fill(PROSE[language]) + fill(PROSE[language])
    assert reject_reason(text[cut : cut + 1024]) is None


@pytest.mark.parametrize(
    "data",
    [
        CODE[:1024],
        CODE[1024:2048],
        textwrap.indent(CODE[600:2400].decode(), " " * 12).encode()[:1024],
        "\n".join(f"{i},{RANDOM.random():.6f},{RANDOM.random():.3e}" for i in range(60)).encode()[:1024],
        b"".join(b"\x1b[32mok\x1b[0m step %d took %d ms\r\n" % (i, RANDOM.randrange(999)) for i in range(60))[:1024],
        base64.encodebytes(RANDOM.randbytes(1024))[:1024],
        fill("Le petit prince s'assit sur une pierre et leva les yeux vers le ciel étoilé".encode("latin-1")),
    ],
    ids=["code", "more code", "indented code", "table", "terminal log", "base64", "latin-1"],
)
def test_text_passes(data: bytes) -> None:
    assert len(data) == 1024
    assert reject_reason(data) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (RANDOM.randbytes(1024), BINARY),
        (zlib.compress(RANDOM.randbytes(4096))[:1024], BINARY),
        (bytes(1024), BINARY),
        (CODE[:1000] + b"\0" + CODE[1001:1024], BINARY),
        (fill("道可道非常道名可名非常名无名天地之始".encode("gbk")), BINARY),
        (b"\x01\x02" * 12 + CODE[24:1024], BINARY),
        (b" " * 1024, NEARLY_EMPTY),
        (b"\n" * 900 + CODE[:124], NEARLY_EMPTY),
        (b"=" * 900 + CODE[:124], REPETITIVE),
        (b"01" * 512, REPETITIVE),
        ((b"the same line again and again\n" * 40)[:1024], REPETITIVE),
    ],
)
def test_what_is_not_worth_scoring(data: bytes, reason: str) -> None:
    assert len(data) == 1024
    assert reject_reason(data) == reason


def windows(contents: list[bytes]) -> Iterator[Window]:
    for place, data in enumerate(contents):
        yield Window.cut(data, Provenance("list", "file", place, "MIT", kind="prose"))


def test_every_window_is_counted_once() -> None:
    good = [fill(text) for text in PROSE.values()]
    contents = [*good, bytes(1024), good[0], b" " * 1024, b"ab" * 512]
    seen = {blake2b_256(good[1])}
    counts = FilterCounts()
    passed = [item.data for item in usable_windows(windows(contents), Filters(seen), counts)]
    assert passed == [good[0], *good[2:]]
    assert counts.read == len(contents) == counts.passed + counts.rejected.total()
    assert counts.rejected == {BINARY: 1, DUPLICATE: 2, NEARLY_EMPTY: 1, REPETITIVE: 1}
    assert counts.kinds == {"prose": counts.passed} and counts.licences == {"MIT": counts.passed}
    assert seen == {hashlib.blake2b(data, digest_size=32).digest() for data in good}


def test_what_is_not_chosen_filters_nothing_and_hides_nothing() -> None:
    contents = [b" " * 1024, b"ab" * 512, fill(PROSE["english"])]
    for chosen, left in (((), 3), ((NEARLY_EMPTY,), 2), ((REPETITIVE,), 1), ((REPETITIVE, NEARLY_EMPTY), 1)):
        counts = FilterCounts()
        assert len(list(usable_windows(windows(contents), Filters(set(), chosen), counts))) == left == counts.passed


def test_it_ends_when_it_is_told_to() -> None:
    counts = FilterCounts()
    contents = [fill(text) for text in PROSE.values()]
    stream = usable_windows(windows(contents), Filters(set()), counts, stopped=lambda: counts.read == 2)
    assert len(list(stream)) == 2
