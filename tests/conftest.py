"""Strict JAX: a broadcast between ranks must be written out. Shapes are checked by jaxtyping (pyproject.toml)."""

from collections.abc import Iterator

import jax
import matplotlib
import pytest

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def strict_ranks(request: pytest.FixtureRequest) -> Iterator[None]:
    """NumPyro's own distributions promote ranks, so tests that call them are marked `numpyro`."""
    mode = "allow" if request.node.get_closest_marker("numpyro") else "raise"
    with jax.numpy_rank_promotion(mode):
        yield
