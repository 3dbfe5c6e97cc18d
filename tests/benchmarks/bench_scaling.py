"""How the time of an EM iteration grows with points, components and features, ours and scikit-learn's.

Exponents: least squares of the logarithm of the median milliseconds over the logarithm of the size. scikit-learn goes
up to a million points, so that its turns stay bounded.
"""

from collections.abc import Iterator

import em_programs
from measuring import OURS, Record, Skipped, exponent, main, measure

PEER = "scikit-learn"
PEER_UP_TO = 1_000_000

SWEEPS = {
    "N": [(n, 2, 3) for n in (1000, 10_000, 100_000, 1_000_000, 10_000_000)],
    "K": [(100_000, 4, k) for k in (2, 4, 8, 16, 32, 64)],
    "D": [(20_000, d, 4) for d in (1, 2, 4, 8, 16, 32, 64)],
}
QUICK = {
    "N": [(n, 2, 3) for n in (1000, 3000, 10_000)],
    "K": [(3000, 2, k) for k in (2, 3, 4)],
    "D": [(3000, d, 2) for d in (1, 2, 4)],
}


def part(quick: bool, skipped: Skipped) -> Iterator[Record]:
    """One measure for each shape, and one for each sweep."""
    for letter, shapes in (QUICK if quick else SWEEPS).items():
        points: dict[str, list[tuple[int, float]]] = {}
        for shape in shapes:
            names = [OURS, PEER] if shape[0] <= PEER_UP_TO else [OURS]
            turns = em_programs.turns(shape, names, 1 if quick else 3, 0.1 if quick else 0.3, skipped)
            found = measure("EM iteration", em_programs.label(shape), "ms", turns, sweep=letter, shape=shape)
            for name, entry in found["summary"].items():
                points.setdefault(name, []).append((shape["NDK".index(letter)], entry["median"]))
            yield found
        fitted = {name: exponent(*zip(*pairs, strict=True)) for name, pairs in points.items() if len(pairs) > 2}
        yield measure(
            "exponent",
            letter,
            f"power of {letter}",
            {name: [entry["exponent"]] for name, entry in fitted.items()},
            better=None,
            fitted=fitted,
            points=points,
            shapes=shapes,
        )


if __name__ == "__main__":
    main("scaling", part)
