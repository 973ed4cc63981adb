"""Profiles: several wallets of one person, each with its own env file, state folder and Modal environment.

A profile is an env file: `.env.NAME` in the current folder; the plain one is `.env`. Names on Modal are the same for
every profile, and each has a Modal environment of its own name, so that no deployment, secret, volume or lease of one
is another's. Nothing here loads anything heavy.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from quickstart.errors import SettingsError

ENV_FILE = Path(".env")
RESERVED = frozenset({"example", "local", "sample", "template"})
"""Endings that other tools give a meaning of their own; files named so are no profiles."""

MODAL_ENVIRONMENT = "MODAL_ENVIRONMENT"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class Profile:
    """`name`: empty for the plain one. `env_file`: what the settings are read from, besides the environment."""

    name: str = ""

    @property
    def env_file(self) -> Path:
        return ENV_FILE.with_name(f"{ENV_FILE.name}.{self.name}") if self.name else ENV_FILE

    def state(self, base: Path) -> Path:
        """The profile's state folder, inside the one that all share."""
        return base / "profiles" / self.name if self.name else base


PLAIN = Profile()

_chosen: ContextVar[Profile] = ContextVar("profile", default=PLAIN)


def chosen() -> Profile:
    """The profile that settings are read for now."""
    return _chosen.get()


def profile_named(name: str) -> Profile:
    """The profile of that name, whether its file is there or not.

    Raises:
        SettingsError: no name that a file, a folder and a Modal environment can have.
    """
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise SettingsError(
            f"{name[:40]!r} is no name of a profile: up to 40 small letters, digits and hyphens, "
            f"and none of {', '.join(sorted(RESERVED))}"
        )
    return Profile(name)


def profiles(folder: Path = Path()) -> tuple[Profile, ...]:
    """The plain profile first, then every `.env.NAME` in a folder, by name."""
    names = (path.name.removeprefix(f"{ENV_FILE.name}.") for path in folder.glob(f"{ENV_FILE.name}.*"))
    return (PLAIN, *(Profile(name) for name in sorted(names) if _NAME.fullmatch(name) and name not in RESERVED))


@contextmanager
def using(profile: Profile) -> Iterator[Profile]:
    """Within the block settings are those of `profile`, and Modal's client speaks to its environment.

    Raises:
        SettingsError: the environment names another Modal environment than the profile's.
    """
    before = os.environ.get(MODAL_ENVIRONMENT)
    if profile.name and before not in (None, "", profile.name):
        raise SettingsError(
            f"{MODAL_ENVIRONMENT} is {before} in the environment, and the profile {profile.name} uses the Modal "
            "environment of its own name: unset it"
        )
    token = _chosen.set(profile)
    if profile.name:
        os.environ[MODAL_ENVIRONMENT] = profile.name
    try:
        yield profile
    finally:
        _chosen.reset(token)
        if profile.name:
            os.environ.pop(MODAL_ENVIRONMENT)
            if before is not None:
                os.environ[MODAL_ENVIRONMENT] = before
