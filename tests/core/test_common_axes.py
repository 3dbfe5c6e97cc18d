"""Axes turned plane by plane: every pair once, orthogonal still, downhill, and to where no plane has anything left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_gmm.core.common_axes import _disjoint_pairs, turn_axes


def matrices(n_features: int, count: int = 3, seed: int = 0) -> np.ndarray:
    factors = np.random.default_rng(seed).normal(size=(count, n_features, n_features + 2))
    return factors @ factors.mT


def objective(axes: np.ndarray, precisions: np.ndarray, scatters: np.ndarray) -> float:
    return float(np.einsum("ki,ji,kjl,li->", precisions, axes, scatters, axes))


@pytest.mark.parametrize("n_features", [2, 3, 4, 5, 8])
def test_each_axis_meets_each_other_once_and_one_at_a_time(n_features: int) -> None:
    rounds = _disjoint_pairs(n_features)
    met = [tuple(pair) for pairs in rounds for pair in pairs.argmax(-1).T.tolist()]
    assert sorted(met) == [(i, j) for i in range(n_features) for j in range(i + 1, n_features)]
    assert (rounds.sum((1, 2)) <= 1).all()


@pytest.mark.parametrize("n_features", [2, 3, 6])
def test_turning_goes_down_to_where_no_rotation_goes_further(n_features: int) -> None:
    scatters = matrices(n_features)
    precisions = 1 / np.random.default_rng(1).gamma(1.0, size=(3, n_features))
    axes, values = np.eye(n_features), [np.inf]
    for _ in range(60):
        values.append(objective(axes, precisions, scatters))
        axes = turn_axes(axes, precisions, scatters)
    assert (np.diff(values) <= 1e-12 * abs(values[-1])).all()
    assert values[-1] < values[1] * (1 - 1e-3)
    np.testing.assert_allclose(axes.T @ axes, np.eye(n_features), atol=1e-12)
    for i, j in np.stack(np.triu_indices(n_features, 1), 1):
        for angle in (-0.02, 0.02, 0.7):
            turned = axes.copy()
            turned[:, i] = np.cos(angle) * axes[:, i] + np.sin(angle) * axes[:, j]
            turned[:, j] = np.cos(angle) * axes[:, j] - np.sin(angle) * axes[:, i]
            assert objective(turned, precisions, scatters) > values[-1]


def test_numpy_and_jax_turn_alike() -> None:
    scatters, rng = matrices(5), np.random.default_rng(2)
    precisions, axes = rng.gamma(1.0, size=(3, 5)), np.linalg.qr(rng.normal(size=(5, 5)))[0]
    with jax.enable_x64(True):
        compiled = jax.jit(turn_axes)(jnp.asarray(axes), precisions, scatters)
    np.testing.assert_allclose(turn_axes(axes, precisions, scatters), compiled, rtol=1e-10, atol=1e-12)
