"""Every likelihood keeps the contract: the same tests for all, against SciPy, enumeration and finite differences."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma, logsumexp, softmax
from scipy.stats import multivariate_normal, multivariate_t

from bayes_gmm.likelihood import complete_rows, deconvolution, heavy_tails, measurement_errors, missing_cells
from bayes_gmm.likelihood.linear_form import hard, natural, soft
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import noise_box
from bayes_gmm.mixture.scaling import Scaling

N_COMPONENTS, N_FEATURES = 3, 3


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


class Kind(NamedTuple):
    """A likelihood: how its rows are drawn, prepared, and what the log joint density (N, K) of each row and label is.

    `completed` gives E[phi(x) | o_n, k] (N, K, F). With noise it counts as one more component, and `mixture` has it.
    Components with degrees of freedom are t distributions, whose natural parameters are their own.
    """

    draw: Callable
    prepare: Callable
    log_joint: Callable
    completed: Callable
    with_noise: bool = False
    degrees_of_freedom: np.ndarray | None = None
    natural: Callable = natural

    def mixture(self, seed):
        """A mixture for these rows."""
        mixture = replace(some_mixture(seed), degrees_of_freedom=self.degrees_of_freedom)
        return mixture.with_noise(0.2, LOW, HIGH) if self.with_noise else mixture


def phi(x):
    """Features of complete rows (..., D), one product at a time."""
    D = x.shape[-1]
    squares = [x[..., i] * x[..., j] for i in range(D) for j in range(i + 1)]
    return np.stack([np.ones(x.shape[:-1]), *np.moveaxis(x, -1, 0), *squares], -1)


def components(mixture):
    return list(zip(mixture.weights, mixture.means, mixture.covariances, strict=True))


# Complete rows


def complete(seed, n_points):
    return np.random.default_rng(seed).normal(size=(n_points, N_FEATURES))


def joint_of_complete(mixture, x):
    return np.stack(
        [np.log(w) + np.atleast_1d(multivariate_normal(m, c).logpdf(x)) for w, m, c in components(mixture)], 1
    )


# Missing cells


def with_gaps(seed, n_points):
    """Rows a third of whose cells were not seen, but at least one of each."""
    x, rng = complete(seed, n_points), np.random.default_rng(seed + 1)
    gaps = rng.random(x.shape) < 1 / 3
    gaps[np.arange(n_points), rng.integers(0, N_FEATURES, n_points)] = False
    x[gaps] = np.nan
    return x


def joint_of_seen(mixture, x):
    joint = np.empty((len(x), N_COMPONENTS))
    for n, row in enumerate(x):
        o = np.flatnonzero(~np.isnan(row))
        for k, (w, m, c) in enumerate(components(mixture)):
            joint[n, k] = np.log(w) + (multivariate_normal(m[o], c[np.ix_(o, o)]).logpdf(row[o]) if o.size else 0.0)
    return joint


def completed_from_seen(mixture, x):
    """E[phi(x) | seen cells, k] by the textbook's regression."""
    found = np.empty((len(x), N_COMPONENTS, phi(x).shape[-1]))
    for n, row in enumerate(x):
        o = np.flatnonzero(~np.isnan(row))
        for k, (_, m, c) in enumerate(components(mixture)):
            slopes = c[:, o] @ np.linalg.inv(c[np.ix_(o, o)])
            mean, spread = m + slopes @ (row[o] - m[o]), c - slopes @ c[o]
            squares = (spread + np.outer(mean, mean))[np.tril_indices(N_FEATURES)]
            found[n, k] = np.concatenate([[1.0], mean, squares])
    return found


# Errors of measurement


def errors_of(n_points):
    """Covariances (N, D, D) of the errors: one row in ten has none, and all others have their own."""
    roots = np.random.default_rng(9).normal(size=(n_points, N_FEATURES, N_FEATURES + 2)) / 2
    return (roots @ roots.mT) * (np.arange(n_points) % 10 > 0)[:, None, None]


def joint_with_errors(mixture, x):
    joint = np.empty((len(x), N_COMPONENTS))
    for n, (row, noise) in enumerate(zip(x, errors_of(len(x)), strict=True)):
        o = np.flatnonzero(~np.isnan(row))
        for k, (w, m, c) in enumerate(components(mixture)):
            joint[n, k] = np.log(w) + multivariate_normal(m[o], (c + noise)[np.ix_(o, o)]).logpdf(row[o])
    return joint


def completed_with_errors(mixture, x):
    """E[phi(x) | what was observed, k] by the textbook's regression."""
    found = np.empty((len(x), N_COMPONENTS, phi(x).shape[-1]))
    for n, (row, noise) in enumerate(zip(x, errors_of(len(x)), strict=True)):
        o = np.flatnonzero(~np.isnan(row))
        for k, (_, m, c) in enumerate(components(mixture)):
            slopes = c[:, o] @ np.linalg.inv((c + noise)[np.ix_(o, o)])
            mean, spread = m + slopes @ (row[o] - m[o]), c - slopes @ c[o]
            squares = (spread + np.outer(mean, mean))[np.tril_indices(N_FEATURES)]
            found[n, k] = np.concatenate([[1.0], mean, squares])
    return found


def prepare_with_errors(x, weights, scaling):
    return measurement_errors.prepare(x, weights, scaling, errors_of(len(x)))


# Noise


LOW, HIGH = np.array([-3.0, -4.0, -5.0]), np.array([4.0, 3.0, 5.0])
BOX = noise_box(True, np.stack([LOW, HIGH]), np.ones(2), ["a", "b", "c"])


def beside_noise(log_joint):
    """Log joint densities with those of noise, whose density is that over the sides that were seen."""

    def of_all(mixture, x):
        of_noise = np.log(0.2) - (~np.isnan(x)) @ np.log(HIGH - LOW)
        return np.column_stack([log_joint(mixture, x), of_noise])

    return of_all


def completed_beside_noise(completed):
    """Noise says nothing of cells that were not seen, and their natural parameters take no part: zeros stand there."""

    def of_all(mixture, x):
        return np.concatenate([completed(mixture, x), phi(np.where(np.isnan(x), 0.0, x))[:, None]], 1)

    return of_all


def constant_of_noise(completed):
    """Of rows of noise likelihoods that are no linear forms have the constant alone."""

    def of_all(mixture, x):
        found = completed(mixture, x)
        of_noise = np.zeros_like(found[:, :1])
        of_noise[..., 0] = 1.0
        return np.concatenate([found, of_noise], 1)

    return of_all


def gaps_with_noise(x, weights, scaling, labels=None):
    return missing_cells.prepare(x, weights, scaling, labels, noise=BOX)


def errors_with_noise(x, weights, scaling):
    return measurement_errors.prepare(x, weights, scaling, errors_of(len(x)), noise=BOX)


def rows_themselves(mixture, x):
    return np.repeat(phi(x)[:, None], N_COMPONENTS, 1)


# Heavy tails


DEGREES = np.array([1.5, 8.0, 400.0])


def joint_of_t(mixture, x):
    parts = zip(mixture.weights, mixture.means, mixture.scatters, mixture.degrees_of_freedom, strict=True)
    return np.stack([np.log(w) + np.atleast_1d(multivariate_t(m, s, nu).logpdf(x)) for w, m, s, nu in parts], 1)


def completed_with_precisions(mixture, x):
    """Count, E[tau x], E[tau vech(x x')], -E[tau] and 1 - E[tau] + log E[tau], tau gamma distributed given the row."""
    found = []
    for m, s, nu in zip(mixture.means, mixture.scatters, mixture.degrees_of_freedom, strict=True):
        distances = np.einsum("nd,de,ne->n", x - m, np.linalg.inv(s), x - m)
        tau = ((nu + N_FEATURES) / (nu + distances))[:, None]
        found.append(np.concatenate([np.ones_like(tau), tau * phi(x)[:, 1:], -tau, 1 - tau + np.log(tau)], 1))
    return np.stack(found, 1)


def joint_of_seen_t(mixture, x):
    joint = np.empty((len(x), N_COMPONENTS))
    for n, row in enumerate(x):
        o = np.flatnonzero(~np.isnan(row))
        for k, (w, m, s) in enumerate(zip(mixture.weights, mixture.means, mixture.scatters, strict=True)):
            joint[n, k] = np.log(w) + multivariate_t(m[o], s[np.ix_(o, o)], mixture.degrees_of_freedom[k]).logpdf(
                row[o]
            )
    return joint


def completed_with_precisions_from_seen(mixture, x):
    """The same of complete rows and tau given the seen cells: missing cells have the covariance S / tau given these."""
    found = np.empty((len(x), N_COMPONENTS, phi(x).shape[-1] + 2))
    for n, row in enumerate(x):
        o = np.flatnonzero(~np.isnan(row))
        for k, (m, s, nu) in enumerate(zip(mixture.means, mixture.scatters, mixture.degrees_of_freedom, strict=True)):
            slopes = s[:, o] @ np.linalg.inv(s[np.ix_(o, o)])
            mean, spread = m + slopes @ (row[o] - m[o]), s - slopes @ s[o]
            distance = (row[o] - m[o]) @ np.linalg.solve(s[np.ix_(o, o)], row[o] - m[o])
            tau = (nu + len(o)) / (nu + distance)
            squares = (spread + tau * np.outer(mean, mean))[np.tril_indices(N_FEATURES)]
            seen, every = (nu + len(o)) / 2, (nu + N_FEATURES) / 2
            logarithm = 1 - tau + np.log(tau) + digamma(seen) - np.log(seen) - digamma(every) + np.log(every)
            found[n, k] = np.concatenate([[1.0], tau * mean, squares, [-tau, logarithm]])
    return found


def gaps_and_tails(x, weights, scaling, labels=None):
    return missing_cells.prepare(x, weights, scaling, labels, with_heavy_tails=True)


def gaps_tails_and_noise(x, weights, scaling, labels=None):
    return missing_cells.prepare(x, weights, scaling, labels, noise=BOX, with_heavy_tails=True)


def tails_with_noise(x, weights, scaling):
    return heavy_tails.prepare(x, weights, scaling, with_noise=True)


KINDS = {
    "complete rows": Kind(complete, complete_rows.prepare, joint_of_complete, rows_themselves),
    "errors": Kind(complete, prepare_with_errors, joint_with_errors, completed_with_errors),
    "errors and missing cells": Kind(with_gaps, prepare_with_errors, joint_with_errors, completed_with_errors),
    "missing cells": Kind(with_gaps, missing_cells.prepare, joint_of_seen, completed_from_seen),
    "complete rows, noise": Kind(
        complete,
        complete_rows.prepare,
        beside_noise(joint_of_complete),
        completed_beside_noise(rows_themselves),
        with_noise=True,
    ),
    "missing cells, noise": Kind(
        with_gaps,
        gaps_with_noise,
        beside_noise(joint_of_seen),
        completed_beside_noise(completed_from_seen),
        with_noise=True,
    ),
    "errors and missing cells, noise": Kind(
        with_gaps,
        errors_with_noise,
        beside_noise(joint_with_errors),
        constant_of_noise(completed_with_errors),
        with_noise=True,
    ),
    "heavy tails": Kind(
        complete,
        heavy_tails.prepare,
        joint_of_t,
        completed_with_precisions,
        degrees_of_freedom=DEGREES,
        natural=heavy_tails.natural,
    ),
    "heavy tails, missing cells": Kind(
        with_gaps,
        gaps_and_tails,
        joint_of_seen_t,
        completed_with_precisions_from_seen,
        degrees_of_freedom=DEGREES,
        natural=heavy_tails.natural,
    ),
    "heavy tails, missing cells, noise": Kind(
        with_gaps,
        gaps_tails_and_noise,
        beside_noise(joint_of_seen_t),
        constant_of_noise(completed_with_precisions_from_seen),
        with_noise=True,
        degrees_of_freedom=DEGREES,
        natural=heavy_tails.natural,
    ),
    "heavy tails, noise": Kind(
        complete,
        tails_with_noise,
        beside_noise(joint_of_t),
        constant_of_noise(completed_with_precisions),
        with_noise=True,
        degrees_of_freedom=DEGREES,
        natural=heavy_tails.natural,
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def some_mixture(seed):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(N_COMPONENTS, N_FEATURES, N_FEATURES + 3))
    weights = rng.dirichlet(np.full(N_COMPONENTS, 5.0))
    means = rng.normal(size=(N_COMPONENTS, N_FEATURES))
    return Mixture.from_moments(weights, means, roots @ roots.mT / (N_FEATURES + 3))


UNIT = Scaling(center=np.zeros(N_FEATURES), factor=np.eye(N_FEATURES))


def setting(kind, n_points=40):
    """A mixture, its natural parameters, rows, their weights, and the likelihood."""
    mixture, x = kind.mixture(1), kind.draw(2, n_points)
    weights = np.random.default_rng(3).integers(0, 3, n_points) / 2
    return mixture, np.asarray(kind.natural(mixture)), x, weights, kind.prepare(x, weights, UNIT)


@jax.jit
def log_likelihood(rows, eta):
    return rows.log_likelihood(eta)


gradient = jax.jit(jax.grad(lambda rows, eta: rows.log_likelihood(eta), argnums=1))
curvature = jax.jit(lambda rows, eta: rows.curvature(eta))
score_products = jax.jit(lambda rows, eta: rows.score_products(eta))


def expected_statistics(rows, eta, assignment=soft):
    return jax.jit(lambda rows, eta: rows.expected_statistics(eta, assignment))(rows, eta)


def differences(function, at, step=1e-5):
    slopes = [(function(at + h) - function(at - h)) / (2 * step) for h in step * np.eye(at.size).reshape(-1, *at.shape)]
    return np.stack(slopes).reshape(*at.shape, *np.shape(slopes[0]))


@every_kind
def test_likelihood_and_statistics_are_those_of_all_assignments(kind):
    mixture, eta, x, _, _ = setting(kind, 6)
    rows = kind.prepare(x, np.ones(6), UNIT)
    log_joint = kind.log_joint(mixture, x)
    labels = np.array(list(itertools.product(range(log_joint.shape[1]), repeat=6)))
    log_probabilities = log_joint[np.arange(6), labels].sum(1)
    total = logsumexp(log_probabilities)
    shares = np.einsum("a,ank->nk", np.exp(log_probabilities - total), np.eye(log_joint.shape[1])[labels])
    value, statistics = expected_statistics(rows, eta)
    np.testing.assert_allclose(value, total, rtol=1e-12)
    expected = np.einsum("nk,nkf->kf", shares, kind.completed(mixture, x))
    np.testing.assert_allclose(statistics, expected, rtol=1e-10, atol=1e-10)
    shares[3, :2] += 1e-3, -1e-3
    wrong = np.einsum("nk,nkf->kf", shares, kind.completed(mixture, x))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(statistics, wrong, rtol=1e-10, atol=1e-10)


@every_kind
def test_value_is_the_weighted_sum_over_rows(kind):
    mixture, eta, x, weights, rows = setting(kind)
    expected = weights @ logsumexp(kind.log_joint(mixture, x), axis=1)
    np.testing.assert_allclose(log_likelihood(rows, eta), expected, rtol=1e-12)
    np.testing.assert_allclose(expected_statistics(rows, eta)[0], expected, rtol=1e-12)
    assert rows.total_weight == weights.sum()
    assert rows.n_features == N_FEATURES


@every_kind
def test_hard_assignment_gives_rows_whole(kind):
    mixture, eta, x, weights, rows = setting(kind)
    joint = kind.log_joint(mixture, x)
    value, statistics = expected_statistics(rows, eta, hard)
    np.testing.assert_allclose(value, weights @ joint.max(1), rtol=1e-12)
    shares = np.eye(joint.shape[1])[joint.argmax(1)] * weights[:, None]
    np.testing.assert_allclose(
        statistics, np.einsum("nk,nkf->kf", shares, kind.completed(mixture, x)), rtol=1e-10, atol=1e-10
    )


@every_kind
def test_gradient_is_the_expected_statistics_and_the_slope_of_the_value(kind):
    _, eta, _, _, rows = setting(kind)
    slope = gradient(rows, eta)
    np.testing.assert_allclose(slope, expected_statistics(rows, eta)[1], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slope, differences(lambda at: float(log_likelihood(rows, at)), eta), atol=1e-7)


@every_kind
def test_curvature_is_the_slope_of_the_gradient(kind):
    _, eta, _, _, rows = setting(kind)
    slopes = differences(lambda at: np.asarray(gradient(rows, at)), eta)
    np.testing.assert_allclose(curvature(rows, eta), slopes, atol=1e-7)


@every_kind
def test_score_products_are_those_of_single_rows(kind):
    mixture, eta, x, weights, rows = setting(kind)
    shares = softmax(kind.log_joint(mixture, x), axis=1)
    scores = (shares[..., None] * kind.completed(mixture, x)).reshape(len(x), -1)
    expected = (scores * weights[:, None]).T @ scores
    np.testing.assert_allclose(score_products(rows, eta), expected, rtol=1e-10, atol=1e-10)


@every_kind
def test_value_and_gradient_cost_one_pass_over_the_rows(kind):
    """The rule gives what plain differentiation cannot: loops of a length that is not known have no reverse mode."""
    _, eta, x, weights, _ = setting(kind, 20_000)
    rows = kind.prepare(x, weights, UNIT)
    text = jax.jit(jax.value_and_grad(lambda eta, rows: rows.log_likelihood(eta))).lower(eta, rows).as_text()
    alone = jax.jit(lambda eta, rows: rows.expected_statistics(eta)).lower(eta, rows).as_text()
    assert text.count("stablehlo.exponential") == alone.count("stablehlo.exponential")


@every_kind
def test_parts_add_and_unvisited_rows_are_worth_nothing(kind):
    _, eta, x, weights, _ = setting(kind, 20_000)
    rows = kind.prepare(x, weights, UNIT)
    parts = rows.parts(3)
    assert len(parts) == 3
    sums = [sum(found) for found in zip(*(expected_statistics(part, eta) for part in parts), strict=True)]
    for ours, whole in zip(sums, expected_statistics(rows, eta), strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-11, atol=1e-8)
    assert log_likelihood(rows.unvisited(), eta) == 0
    assert sum(part.milliseconds(3) for part in parts) == pytest.approx(rows.milliseconds(3))
    assert rows.without_rows().n_features == N_FEATURES


@every_kind
def test_other_weights_are_those_of_the_rows(kind):
    _, eta, x, _, rows = setting(kind)
    others = np.random.default_rng(5).random((2, len(x)))
    for laid_out, own in zip(rows.in_blocks(others), others, strict=True):
        expected = log_likelihood(kind.prepare(x, own, UNIT), eta)
        np.testing.assert_allclose(log_likelihood(rows.with_weights(jnp.asarray(laid_out)), eta), expected, rtol=1e-12)
    assert abs(log_likelihood(rows, eta) - expected) > 1


@every_kind
def test_units_of_the_columns_shift_the_value_by_the_log_volume(kind):
    """The density of rows in other units, with a mixture in these: a change of variables."""
    mixture, _, x, weights, _ = setting(kind)
    scaling = Scaling(center=np.array([1.0, -2.0, 0.5]), factor=np.diag([2.0, 0.5, 3.0]))
    moved = kind.prepare(x, weights, scaling)
    value = log_likelihood(moved, np.asarray(kind.natural(scaling.to_unit(mixture))))
    expected = weights @ logsumexp(kind.log_joint(mixture, x), axis=1)
    np.testing.assert_allclose(value - moved.log_volume(scaling), expected, rtol=1e-11)
    assert abs(moved.log_volume(scaling)) > 1


# What is special about a kind


def test_without_gaps_the_form_for_gaps_is_the_other_bit_for_bit():
    _, eta, x, weights, rows = setting(KINDS["complete rows"])
    same = missing_cells.prepare(x, weights, UNIT)
    for ours, theirs in zip(expected_statistics(same, eta), expected_statistics(rows, eta), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_rows_without_any_cell_say_nothing_and_known_labels_forbid_the_others():
    kind = KINDS["missing cells"]
    mixture, eta, x, weights, rows = setting(kind)
    more = np.concatenate([x, np.full((5, N_FEATURES), np.nan)])
    with_empty = missing_cells.prepare(more, np.concatenate([weights, np.ones(5)]), UNIT)
    np.testing.assert_allclose(log_likelihood(with_empty, eta), log_likelihood(rows, eta), rtol=1e-14)
    labels = np.random.default_rng(6).integers(-1, N_COMPONENTS, len(x))
    joint = kind.log_joint(mixture, x)
    expected = np.where(labels >= 0, joint[np.arange(len(x)), labels], logsumexp(joint, axis=1))
    labelled = missing_cells.prepare(x, weights, UNIT, labels)
    np.testing.assert_allclose(log_likelihood(labelled, eta), weights @ expected, rtol=1e-12)
    slope = gradient(labelled, eta)
    np.testing.assert_allclose(slope, differences(lambda at: float(log_likelihood(labelled, at)), eta), atol=1e-7)
    only = missing_cells.prepare(np.full((1, N_FEATURES), np.nan), np.ones(1), UNIT, np.array([1]))
    np.testing.assert_allclose(log_likelihood(only, eta), mixture.log_weights[1], rtol=1e-10)


def test_many_groups_of_few_rows_waste_little():
    x = with_gaps(8, 3000)
    data = missing_cells.prepare(x, np.ones(len(x)), UNIT).blocks
    assert data.points.shape[0] * data.points.shape[2] < 3 * len(x)


def test_errors_of_zero_change_nothing():
    _, eta, x, weights, rows = setting(KINDS["complete rows"])
    exact = measurement_errors.prepare(x, weights, UNIT, np.zeros((len(x), N_FEATURES, N_FEATURES)))
    for ours, theirs in zip(expected_statistics(exact, eta), expected_statistics(rows, eta), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(curvature(exact, eta), curvature(rows, eta), rtol=1e-10, atol=1e-10)
    assert abs(log_likelihood(setting(KINDS["errors"])[-1], eta) - log_likelihood(rows, eta)) > 1


def test_gradient_and_curvature_with_errors_are_those_of_automatic_differentiation():
    kind = KINDS["errors"]
    _, eta, x, weights, rows = setting(kind)
    errors = errors_of(len(x))

    def directly(eta):
        precision = -2 * jax.vmap(jnp.diag)(eta[:, np.array([4, 6, 9])])
        for place, (i, j) in zip((5, 7, 8), ((1, 0), (2, 0), (2, 1)), strict=True):
            precision = precision.at[:, i, j].set(-eta[:, place]).at[:, j, i].set(-eta[:, place])
        S = jnp.linalg.inv(precision)
        mean = jnp.einsum("kij,kj->ki", S, eta[:, 1:4])
        log_mass = eta[:, 0] + 0.5 * (mean * eta[:, 1:4]).sum(1) + 0.5 * jnp.linalg.slogdet(2 * np.pi * S)[1]
        T, r = S[:, None] + errors[None], x[None] - mean[:, None]
        log_density = -0.5 * (r * jnp.linalg.solve(T, r[..., None])[..., 0]).sum(-1)
        log_density -= 0.5 * jnp.linalg.slogdet(2 * np.pi * T)[1]
        return weights @ jax.nn.logsumexp(log_mass[:, None] + log_density, axis=0)

    np.testing.assert_allclose(gradient(rows, eta), jax.grad(directly)(eta), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(curvature(rows, eta), jax.hessian(directly)(eta), rtol=1e-7, atol=1e-7)


def test_many_columns_and_mixtures_themselves_have_the_same_likelihood_with_errors(monkeypatch):
    mixture, eta, _, _, rows = setting(KINDS["errors and missing cells"])
    expected = expected_statistics(rows, eta)
    for ours, theirs in zip(jax.jit(lambda rows, m: rows.expected_at(m))(rows, mixture), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)
    monkeypatch.setattr(deconvolution, "_MOST_COLUMNS_WRITTEN_OUT", 0)
    for ours, theirs in zip(expected_statistics(rows, eta), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


def test_a_component_without_spread_of_its_own_has_a_likelihood_where_rows_have_errors():
    """Points on a line through their errors: a covariance of rank one, whose natural parameters do not exist."""
    x, errors = complete(2, 30), np.tile(np.diag([0.5, 0.3, 0.2]), (30, 1, 1))
    rows = measurement_errors.prepare(x, np.ones(30), UNIT, errors)
    root = np.zeros((1, 3, 3))
    root[0, :, 0] = 1.0, -0.5, 0.0
    flat = Mixture(log_weights=np.zeros(1), means=np.zeros((1, 3)), scale_tril=root)
    value, statistics = jax.jit(lambda rows, m: rows.expected_at(m))(rows, flat)
    T = root[0] @ root[0].T + errors[0]
    np.testing.assert_allclose(value, multivariate_normal(np.zeros(3), T).logpdf(x).sum(), rtol=1e-12)
    expected = x @ np.linalg.solve(T, root[0] @ root[0].T)
    np.testing.assert_allclose(statistics[0, 1:4], expected.sum(0), rtol=1e-12)
