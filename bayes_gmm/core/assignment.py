r"""The best of all K! orders of K things, without a look at each.

Places are filled one after another. What the later places may get depends only on which things are taken, not on
where these are, so the best sum of scores for a set S of them in the first |S| places is

.. math:: f(S) = \max_{j \in S} \big[ f(S \setminus \{j\}) + s_{j, |S|} \big],

of which there are 2^K. A batch goes through the same sets, so that NumPy or a compiled program does all of it at once.

References
----------
Held and Karp (1962), doi 10.1137/0110015.
"""

import itertools
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

_FEW = 3
"""Components up to which all orders are compared: they are fewer than the sets, and quicker to compile."""


class _SetsOfOneSize(NamedTuple):
    """Members of each set (n, k), and the number of the set without that member among those of one less."""

    members: Int[np.ndarray, "n k"]
    without: Int[np.ndarray, "n k"]


def best_assignment(scores: Float[Any, "*batch K K"]) -> Int[Any, "*batch K"]:
    """Component in each place, with the largest sum of scores, of which row j, column k is that of j in place k."""
    namespace: Any = jnp if isinstance(scores, jax.Array) else np
    K = scores.shape[-1]
    if K <= _FEW:
        orders = np.array(list(itertools.permutations(range(K))))
        return namespace.asarray(orders)[scores[..., orders, np.arange(K)].sum(-1).argmax(-1)]
    sets = _sets(K)
    sums, choices = namespace.zeros((*scores.shape[:-2], 1)), []
    for place, (members, without) in enumerate(sets):
        candidates = sums[..., without] + scores[..., members, place]
        choices.append(candidates.argmax(-1))
        sums = candidates.max(-1)
    number, order = namespace.zeros(scores.shape[:-2], int), []
    for (members, without), choice in zip(reversed(sets), reversed(choices), strict=True):
        last = namespace.take_along_axis(choice, number[..., None], -1)[..., 0]
        order.append(namespace.asarray(members)[number, last])
        number = namespace.asarray(without)[number, last]
    return namespace.stack(order[::-1], -1)


@cache
def _sets(n_components: int) -> list[_SetsOfOneSize]:
    """All sets of components that are not empty, the smallest first."""
    found = []
    smaller: dict[tuple[int, ...], int] = {(): 0}
    for size in range(1, n_components + 1):
        members = list(itertools.combinations(range(n_components), size))
        without = [[smaller[(*one[:i], *one[i + 1 :])] for i in range(size)] for one in members]
        found.append(_SetsOfOneSize(np.array(members), np.array(without)))
        smaller = {one: number for number, one in enumerate(members)}
    return found
