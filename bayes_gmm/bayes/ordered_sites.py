"""Hyperparameters in the order of their names, so that compiled programs kept on disk are found again."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import jax


@jax.tree_util.register_pytree_node_class
class OrderedSites(dict[str, Any]):
    """Sites whose hyperparameters are handed to compiled programs in the order of their names.

    NumPyro flattens a distribution in the order of a set of names, which differs from process to process, so that
    programs kept on disk would not be found again. The order is worked out once and kept, because every call of a
    compiled program flattens its arguments.
    """

    def tree_flatten(self) -> tuple[list[Any], Any]:
        """Hyperparameters, and the structure that puts them back into their distributions."""
        return self._flat

    @cached_property
    def _flat(self) -> tuple[list[Any], Any]:
        leaves, structure = jax.tree.flatten(dict(self))
        slots = jax.tree.unflatten(structure, map(_Slot, range(len(leaves))))
        order = list(dict.fromkeys([*_by_name(slots), *range(len(leaves))]))
        return [leaves[number] for number in order], (structure, tuple(order))

    @classmethod
    def tree_unflatten(cls, shape: Any, leaves: Any) -> "OrderedSites":
        """The inverse of `tree_flatten`."""
        structure, order = shape
        places = dict(zip(order, leaves, strict=True))
        return cls(jax.tree.unflatten(structure, [places[number] for number in range(len(places))]))


class _Slot(NamedTuple):
    number: int


def _by_name(part: Any) -> Iterator[int]:
    """Numbers of the slots in a nest of dictionaries, sequences and objects, ordered by the names on their path."""
    if isinstance(part, _Slot):
        yield part.number
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _by_name(item)
    else:
        named = part if isinstance(part, dict) else getattr(part, "__dict__", {})
        for name in sorted(named, key=str):
            yield from _by_name(named[name])
