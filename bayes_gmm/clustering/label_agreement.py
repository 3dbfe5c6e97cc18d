"""How far components agree with labels that are known: a cross table, and the adjusted Rand index."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from bayes_gmm.core.export import Record, counted

_MOST_CLASSES = 12
"""Most classes that are printed, the largest first; a longer table is in the records."""


class LabelAgreement(NamedTuple):
    """Known classes of points against their most probable components.

    Attributes
    ----------
    name
        Name of the column with the classes, or "label".
    classes
        Names of the classes (C,), in alphabetical order.
    counts : (C, K)
        Number of points of each class in each component; points without a class or without a component do not count.
    n_unknown
        Number of points without a class.
    n_unassigned
        Number of points of a class without a component: they are noise, or no cell of theirs was seen.
    """

    name: str
    classes: tuple[str, ...]
    counts: Int[np.ndarray, "C K"]
    n_unknown: int
    n_unassigned: int = 0

    @property
    def adjusted_rand_index(self) -> float:
        r"""Share of pairs on which classes and components agree, corrected for chance: 1 for equal partitions.

        .. math:: \frac{\sum_{ck} \binom{n_{ck}}{2} - E}{\frac12 (A + B) - E}, \quad E = A B / \binom{n}{2}

        with A and B the pairs within classes and within components (Hubert and Arabie 1985, doi 10.1007/BF01908075).

        Examples
        --------
        >>> agreement(["a", "a", "b", "b"], np.array([0, 0, 1, 1]), 2).adjusted_rand_index
        1.0
        """
        together = _pairs(self.counts).sum()
        of_classes, of_components = _pairs(self.counts.sum(1)).sum(), _pairs(self.counts.sum(0)).sum()
        by_chance = of_classes * of_components / max(_pairs(self.counts.sum()), 1.0)
        most = (of_classes + of_components) / 2
        return float((together - by_chance) / (most - by_chance)) if most > by_chance else 1.0

    def lines(self) -> list[str]:
        """The cross table as text."""
        order = np.argsort(-self.counts.sum(1), kind="stable")[:_MOST_CLASSES]
        rows = [
            (self.classes[i], self.counts[i]) for i in (sorted(order) if len(order) == len(self.classes) else order)
        ]
        width = max(len("component"), *(len(name) for name, _ in rows))
        head = f"  {'component':<{width}}" + "".join(f"{k:>8}" for k in range(self.counts.shape[1]))
        shown = [f"  {name:<{width}}" + "".join(f"{count:>8}" for count in counts) for name, counts in rows]
        left = len(self.classes) - len(rows)
        return [self.sentence(), head, *shown, *([f"  {left} smaller classes are not shown."] if left else [])]

    def sentence(self) -> str:
        """The adjusted Rand index in words."""
        unknown = f"; {counted(self.n_unknown, 'point')} without one" if self.n_unknown else ""
        unassigned = f"; {counted(self.n_unassigned, 'point')} of no component not counted" if self.n_unassigned else ""
        index = f"adjusted Rand index {self.adjusted_rand_index:.3f}"
        return f"Most probable components and {self.name}: {index}{unknown}{unassigned}"

    def records(self) -> list[Record]:
        """One dictionary for each class: its name, and its number of points in each component."""
        return [
            {"class": name, **{f"component {k}": int(count) for k, count in enumerate(counts)}}
            for name, counts in zip(self.classes, self.counts, strict=True)
        ]


def agreement(
    labels: Sequence[str], components: Int[np.ndarray, " N"], n_components: int, name: str = ""
) -> LabelAgreement:
    """Cross table of known classes (N,), "" where not known, and components (N,), -1 for none."""
    known = np.array([label != "" for label in labels], bool)
    classes, numbers = np.unique(np.array(labels, dtype=object)[known].astype(str), return_inverse=True)
    told = components[known] >= 0
    counts = np.zeros((len(classes), n_components), int)
    np.add.at(counts, (numbers[told], components[known][told]), 1)
    return LabelAgreement(name or "label", tuple(classes.tolist()), counts, int((~known).sum()), int((~told).sum()))


def _pairs(counts: Any) -> Any:
    """Number of pairs within groups of these sizes."""
    return counts * (counts - 1.0) / 2
