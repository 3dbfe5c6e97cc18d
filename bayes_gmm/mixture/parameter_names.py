"""Names of the reported parameters: the property of `Mixture` that holds one, its label, its dimensions in ArviZ."""

from typing import NamedTuple


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

LABELS = {name: parameter.label for name, parameter in PARAMETERS.items()}
