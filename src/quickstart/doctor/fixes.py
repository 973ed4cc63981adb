"""What the doctor mends by itself: nothing that sends, publishes, overwrites or costs."""

from collections.abc import Callable, Mapping
from pathlib import Path

from quickstart.settings import env_example
from quickstart.wallet.key_file import write_new

MAKE_PRIVATE = "private-env-file"
MAKE_ENV_FILE = "env-file"


def _make_private(env_file: Path) -> str:
    env_file.chmod(0o600)
    return f"{env_file} is readable by its owner only"


def _make_env_file(env_file: Path) -> str:
    write_new(env_file, env_example().encode())
    return f"{env_file} is there, to be filled in"


FIXES: Mapping[str, Callable[[Path], str]] = {MAKE_PRIVATE: _make_private, MAKE_ENV_FILE: _make_env_file}
"""By name: what is done to the env file; says what it did. Safe to repeat."""
