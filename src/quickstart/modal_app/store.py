"""What the apps use of a Modal Dict."""

from collections.abc import Iterable
from typing import Any, Protocol


class Store(Protocol):
    """Values by name, seen by every container at once. `put` with `skip_if_exists` says whether it was first."""

    def get(self, key: str, default: Any = None) -> Any: ...

    def put(self, key: str, value: Any, *, skip_if_exists: bool = False) -> bool: ...

    def pop(self, key: str, default: Any = None) -> Any: ...

    def keys(self) -> Iterable[Any]: ...
