"""Four small classical data sets, with their units, sources and known peculiarities."""

from __future__ import annotations

import difflib
import warnings
from dataclasses import replace
from importlib import resources
from typing import NamedTuple

from bayes_gmm.errors import ArgumentError, DataWarning
from bayes_gmm.io.table import Table, read_table


class _About(NamedTuple):
    """What a data set's CSV file does not say."""

    units: tuple[str, ...]
    source: str
    caveats: str
    labels: str | None = None


_ABOUT = {
    "faithful": _About(
        units=("min", "min"),
        source=(
            "Old Faithful geyser, duration of an eruption and waiting time to the next."
            " R's datasets::faithful, after Härdle (1991), Smoothing Techniques, Springer;"
            " Azzalini and Bowman (1990), Applied Statistics 39, 357-365, doi:10.2307/2347385,"
            " use a more complete version (MASS::geyser, 299 rows)."
        ),
        caveats=(
            "Ties: waiting is in whole minutes, 51 distinct values, 78 occurs 15 times;"
            " eruptions are whole seconds written to 0.001 min, 126 distinct values;"
            " 16 rows repeat an earlier one. Successive eruptions are not independent."
        ),
    ),
    "iris": _About(
        units=("cm",) * 4,
        source=(
            "Three species of iris, 50 flowers of each, measured by Anderson (1935), Bulletin of"
            " the American Iris Society 59, 2-5; Fisher (1936), Annals of Eugenics 7, 179-188,"
            " doi:10.1111/j.1469-1809.1936.tb02137.x. R's datasets::iris."
        ),
        caveats=(
            "As in Fisher's paper, R and scikit-learn: rows 35 and 38 (counted from 1) are"
            " 4.9 3.1 1.5 0.2 and 4.9 3.6 1.4 0.1; the UCI file differs there. Measured to 0.1 cm,"
            " hence many ties; row 143 repeats row 102."
        ),
        labels="species",
    ),
    "galaxies": _About(
        units=("1000 km/s",),
        source=(
            "82 galaxies in six well-separated conic sections of the Corona Borealis region."
            " Postman, Huchra and Geller (1986), Astronomical Journal 92, 1238-1247,"
            " doi:10.1086/114257; Roeder (1990), Journal of the American Statistical Association"
            " 85, 617-624, doi:10.1080/01621459.1990.10474918."
        ),
        caveats=(
            "Observation 78 (counted from 1) is 26.960; MASS::galaxies has 26690 km/s, a typo that"
            " its help page admits. An 83rd velocity, 5.607, is in the 1986 paper and not in"
            " Roeder's data nor here. Sorted, so the order carries no information."
        ),
    ),
    "penguins": _About(
        units=("mm", "mm", "mm", "g"),
        source=(
            "344 penguins of three species at Palmer Station, Antarctica, 2007 to 2009. Horst, Hill and Gorman (2020),"
            " R's palmerpenguins, doi:10.5281/zenodo.3960218, CC0; Gorman, Williams and Fraser (2014), PLOS ONE 9,"
            " e90081, doi:10.1371/journal.pone.0090081."
        ),
        caveats=(
            "Two penguins (rows 3 and 271, counted from 0) were not measured. Sexes differ within each species, so that"
            " six groups are as real as three. Measured to 0.1 mm, 1 mm and 25 g, hence many ties."
        ),
        labels="species",
    ),
}


def names() -> tuple[str, ...]:
    """Names of the bundled data sets.

    Examples
    --------
    >>> names()
    ('faithful', 'iris', 'galaxies', 'penguins')
    """
    return tuple(_ABOUT)


def load(name: str) -> Table:
    """A bundled data set: "faithful" (272, 2), "iris" (150, 4), "galaxies" (82, 1) or "penguins" (342, 4).

    The table has `units`, `source`, `caveats` and, for iris and penguins, the species as `labels`. Like a file of one's
    own, each is read by `read_table`; what was left out of it is in `left_out`.

    Raises
    ------
    ArgumentError
        No data set has this name.

    Examples
    --------
    >>> load("faithful").values.shape
    (272, 2)
    """
    if not (isinstance(name, str) and name in names()):
        known = "one of " + ", ".join(map(repr, names()))
        raise ArgumentError(f"Found the data set name {name!r}.", known, _advice(str(name)))
    about = _ABOUT[name]
    with resources.as_file(resources.files("bayes_gmm.datasets").joinpath(f"{name}.csv")) as path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # the catalogue says what the table does not hold
            table = read_table(path, labels=about.labels, missing="drop")
    return replace(table, name=name, units=about.units, source=about.source, caveats=about.caveats)


def _advice(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), names(), n=1)
    return f"Did you mean {close[0]!r}?" if close else "For a file of your own use read_table."
