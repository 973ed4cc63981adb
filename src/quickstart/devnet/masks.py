"""Read masks: a reply holds only what was asked for (`soma-protocol` §4, §5)."""

from collections.abc import Iterable
from typing import Any, TypeAlias, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)
Tree: TypeAlias = dict[str, Any]
"""Field name -> the tree of its fields; an empty tree is the whole field."""


def mask_tree(paths: Iterable[str]) -> Tree:
    """`["a.b", "c"]` -> `{"a": {"b": {}}, "c": {}}`; a parent named by itself keeps all its fields."""
    tree: Tree = {}
    for path in sorted(paths, key=lambda p: p.count("."), reverse=True):
        names = path.split(".")
        node = tree
        for name in names[:-1]:
            node = node.setdefault(name, {})
        node[names[-1]] = {}
    return tree


def masked(message: M, tree: Tree) -> M:
    """Clears, in place, every field of `message` that the mask does not name. A mask of `*` keeps
    everything."""
    if "*" in tree:
        return message
    for descriptor, value in message.ListFields():
        below = tree.get(descriptor.name)
        if below is None:
            message.ClearField(descriptor.name)
        elif below and descriptor.message_type is not None:
            for item in value if _is_repeated(value) else (value,):
                masked(item, below)
    return message


def _is_repeated(value: object) -> bool:
    return not isinstance(value, Message)
