"""The store of the apps in memory."""

from collections.abc import Iterable
from typing import Any


class Kept:
    """A store in memory, with the atomic `put` of Modal's Dict."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def put(self, key: str, value: Any, *, skip_if_exists: bool = False) -> bool:
        if skip_if_exists and key in self.values:
            return False
        self.values[key] = value
        return True

    def pop(self, key: str, default: Any = None) -> Any:
        return self.values.pop(key, default)

    def keys(self) -> Iterable[Any]:
        return list(self.values)
