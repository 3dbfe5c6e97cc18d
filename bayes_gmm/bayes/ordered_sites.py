"""Sites as compiled programs take them: hyperparameters in one order, whichever process asks."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import jax


@jax.tree_util.register_pytree_node_class
class OrderedSites(dict[str, Any]):
    """Sites whose hyperparameters are handed to compiled programs in the order of their names.

    NumPyro flattens a distribution in the order of a set of names, which differs from process to process: programs
    kept on disk would not be found again. It is found once, for each call of a compiled program asks for it.
    """

    def tree_flatten(self) -> tuple[list[Any], Any]:
        """Hyperparameters, and what is needed to put them back."""
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
    """Numbers of the slots in a nest of dictionaries, sequences and objects, by the names of what holds them."""
    if isinstance(part, _Slot):
        yield part.number
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _by_name(item)
    else:
        named = part if isinstance(part, dict) else getattr(part, "__dict__", {})
        for name in sorted(named, key=str):
            yield from _by_name(named[name])
