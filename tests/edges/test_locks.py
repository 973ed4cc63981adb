"""The committed locks: hashes for everything, no host anywhere; their maker refuses anything else."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "scripts" / "lock.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(text: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", text, re.MULTILINE))


def test_the_locks_hold_hashes_and_no_host(lock: ModuleType) -> None:
    for name in lock.LOCKS:
        assert lock.flaw((ROOT / name).read_text(encoding="utf-8")) is None


def test_the_base_lock_is_light_and_the_others_have_what_is_theirs(lock: ModuleType) -> None:
    base, scorer, page = (names((ROOT / name).read_text(encoding="utf-8")) for name in lock.LOCKS)
    assert {"soma-sdk", "boto3", "numpy", "pydantic-settings"} <= base < scorer
    assert not {"torch", "pytest", "moto", "quickstart"} & base
    assert {"torch", "datasets"} <= scorer
    assert {"soma-sdk", "fastapi", "uvicorn", "jinja2"} <= page
    assert not {"torch", "pytest", "moto", "playwright"} & page and "fastapi" not in base


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("a==1 \\\n    --hash=sha256:00\n", None),
        ("# a note\n\na==1 ; python_version < '3.12' \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n", None),
        ("a==1\n", "no hash for: a==1"),
        ("--index-url https://host/simple\na==1 --hash=sha256:00\n", "an address in: --index-url"),
        ("a @ https://host/a.whl --hash=sha256:00\n", "an address in: a"),
    ],
)
def test_flaws(lock: ModuleType, text: str, flaw: str | None) -> None:
    assert lock.flaw(text) == flaw
