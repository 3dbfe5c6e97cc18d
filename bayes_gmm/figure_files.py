"""Figure files: a figure is written to a file or to bytes, and closed so that open figures do not pile up."""

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bayes_gmm.core.export import output_errors

_CSS_PIXELS_PER_INCH = 96


def save_figure(axes: Any, path: str | Path) -> None:
    """Write the figure of one pair of axes, or of an array of axes, to a file, and close it.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    figure = _figure(axes)
    try:
        with output_errors(f"{path} cannot be written"):
            figure.savefig(path, dpi=200)
    finally:
        plt.close(figure)


def png_of(axes: Any, *, dpi: int = 130) -> tuple[bytes, int]:
    """The figure as the bytes of a PNG, and its width on a page in CSS pixels; the figure is closed."""
    figure, buffer = _figure(axes), BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    plt.close(figure)
    return buffer.getvalue(), round(figure.get_size_inches()[0] * _CSS_PIXELS_PER_INCH)


def _figure(axes: Any) -> Figure:
    return np.asarray(axes, dtype=object).flat[0].figure
