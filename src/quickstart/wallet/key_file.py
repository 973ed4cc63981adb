"""Where the key is kept: one line of the profile's env file, which only its owner may read."""

import os
import re
from pathlib import Path

from dotenv import dotenv_values

from quickstart.chain.keys import Wallet
from quickstart.durable import sync_folder, write_durably
from quickstart.errors import StateError, UsageError
from quickstart.settings import KEY_NAME, env_example, raw_value

_EMPTY_LINE = re.compile(rf"^{KEY_NAME}=\s*$", re.MULTILINE)


def refuse_overwriting(env_file: Path) -> None:
    """Says before anything is made that there is a key already.

    Raises:
        UsageError: in the file, or in the environment, which would win over it.
    """
    try:
        written = dotenv_values(env_file).get(KEY_NAME)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{env_file} cannot be read: mend it, or move it away ({type(error).__name__})") from error
    if written or raw_value(KEY_NAME, None):
        where = env_file if written else "the environment"
        raise UsageError(
            f"there is a key in {where}, and none is overwritten: back it up with `uv run wallet backup FILE`, take "
            f"{KEY_NAME} out, or use another profile with --profile NAME"
        )


def keep(wallet: Wallet, env_file: Path) -> None:
    """Writes the key into the file, which is made from the settings table if need be; durable before this returns.

    Raises:
        UsageError: there is a key already.
        StateError: the file cannot be written.
    """
    refuse_overwriting(env_file)
    line = f"{KEY_NAME}={wallet.encoded()}"
    try:
        text = env_file.read_text(encoding="utf-8") if env_file.exists() else env_example()
        filled, found = _EMPTY_LINE.subn(lambda _: line, text, count=1)
        content = filled if found else f"{text.rstrip()}\n{line}\n".lstrip()
        write_durably(env_file.resolve(), content.encode())
    except OSError as error:
        raise StateError(f"{env_file} cannot be written ({error.strerror}); mend its permissions") from error


def write_new(path: Path, data: bytes) -> None:
    """A new file that only its owner may read; durable before this returns.

    Raises:
        UsageError: there is a file of that name.
        StateError: it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists, and nothing is overwritten: name another file") from None
    except OSError as error:
        raise StateError(f"{path} cannot be written ({error.strerror}); name another file") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StateError(f"{path} cannot be written ({error.strerror}); name another file") from error
