"""What the apps use of a Modal Dict."""

from collections.abc import Iterable
from typing import Any, Protocol


class Store(Protocol):
    """Values by name, seen by every container at once. `put` with `skip_if_exists` says whether it was first."""

    def get(self, key: str, default: Any = None) -> Any: ...

    def put(self, key: str, value: Any, *, skip_if_exists: bool = False) -> bool: ...

    def pop(self, key: str, default: Any = None) -> Any: ...

    def keys(self) -> Iterable[Any]: ...


class Section:
    """The part of a store whose keys begin with a name and a slash; itself a store, of what follows."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._head = f"{name}/"

    def get(self, key: str, default: Any = None) -> Any:
        return self._store.get(self._head + key, default)

    def put(self, key: str, value: Any, *, skip_if_exists: bool = False) -> bool:
        return self._store.put(self._head + key, value, skip_if_exists=skip_if_exists)

    def pop(self, key: str, default: Any = None) -> Any:
        return self._store.pop(self._head + key, default)

    def keys(self) -> Iterable[Any]:
        return [key.removeprefix(self._head) for key in map(str, self._store.keys()) if key.startswith(self._head)]
