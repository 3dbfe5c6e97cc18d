"""Names of the reported parameters: the property of `Mixture` that holds one, its label, its dimensions in ArviZ."""

from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """A reported parameter.

    Attributes
    ----------
    label
        What one of its numbers is called in tables and figures.
    dimensions
        Names of its axes after those of chains and draws; a "pair" is a pair of features.
    """

    label: str
    dimensions: tuple[str, ...]


PARAMETERS = {
    "weights": Parameter("weight", ("component",)),
    "means": Parameter("mean", ("component", "feature")),
    "scales": Parameter("sd", ("component", "feature")),
    "correlations": Parameter("correlation", ("component", "pair")),
}
"""By the names of the properties, in the order of tables and figures."""

NOISE_LABEL = "noise weight"
"""What the weight of noise is called, which belongs to no component."""

DEGREES_LABEL, SCALE_LABEL = "degrees of freedom", "scale"
"""What those of t distributions are called, and the roots of their scatters' diagonals, which are no sds."""

LABELS = {name: parameter.label for name, parameter in PARAMETERS.items()}

ALL_LABELS = (*LABELS.values(), SCALE_LABEL, DEGREES_LABEL, NOISE_LABEL)
"""Labels of all kinds of parameters, in the order of figures."""


def labels_of(mixture: Any) -> dict[str, str]:
    """Labels of the parameters of the components of a mixture, by the names of the properties."""
    if mixture.degrees_of_freedom is None:
        return LABELS
    return LABELS | {"scales": SCALE_LABEL, "degrees_of_freedom": DEGREES_LABEL}
