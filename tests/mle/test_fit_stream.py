"""EM on a stream against EM on all of it, in units of the standard errors, with bugs planted to be noticed."""

import inspect
import itertools

import jax
import numpy as np
import pandas as pd
import pytest

import bayes_gmm as bg
from bayes_gmm.errors import ArgumentError, DataError, FitError, FitWarning
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.blocks import blocks
from bayes_gmm.mixture.covariance_structures import STRUCTURES
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling
from bayes_gmm.mle import stream_steps
from bayes_gmm.mle.fit_stream import fit_stream
from bayes_gmm.mle.status import StreamStatus
from bayes_gmm.objective.problem import Problem

TRUTH = Mixture.from_moments(
    [0.3, 0.45, 0.25],
    [[-3.0, 0.0], [0.0, 1.5], [3.0, -1.0]],
    [[[1.0, 0.5], [0.5, 1.0]], [[0.8, -0.2], [-0.2, 0.5]], [[0.6, 0.0], [0.0, 1.2]]],
)
NEVER = 10**6


@pytest.fixture(scope="module")
def points():
    return TRUTH.sample(200_000, seed=1)[0]


@pytest.fixture(scope="module")
def whole(points):
    return bg.fit_em(points, 3, start=TRUTH)


@pytest.fixture(scope="module")
def streamed(points):
    return fit_stream(batches_of(points), 3)


def batches_of(points, size=1000):
    return (points[begin : begin + size] for begin in range(0, len(points), size))


def errors_away(mixture, whole):
    """Largest distance from the whole fit, in its standard errors."""
    names = ("weights", "means", "covariances")
    return max(
        (np.abs(getattr(mixture, name) - getattr(whole.mixture, name)) / whole.standard_errors[name]).max()
        for name in names
    )


def small_stream(n_batches=8, size=200, seed=2):
    return [TRUTH.sample(size, seed=seed + number)[0] for number in range(n_batches)]


# Against the fit of everything at once


def test_one_pass_is_within_the_errors_of_the_whole_fit(points, whole, streamed):
    """The window at batch 200 begins at 64, so its mean has the variance of a fit to 68 % of the points.

    Its distance from the whole fit is then sqrt(1 / 0.68 - 1) = 0.7 standard errors, three of which make 2.1.
    """
    fit = streamed
    assert (fit.n_points, fit.n_batches, fit.status) == (200_000, 200, StreamStatus.LEARNED)
    assert errors_away(fit.mixture, whole) < 2.1
    first = bg.fit_em(points[:1000], 3).mixture
    assert errors_away(first, whole) > 10  # where it began, sqrt(200) errors away


def test_scores_before_learning_rise_to_that_of_the_whole_fit(points, whole, streamed):
    fit = streamed
    assert fit.path.shape == (200,)
    density = whole.mixture.log_prob(points)
    # A mean over the 100 000 last points, and what foreseeing costs: half a nat for each parameter and batch of noise.
    difference = fit.path[100:].mean() - density[100_000:].mean()
    assert -17 / 2 / 1000 < difference < 0
    spread = density.std() / np.sqrt(1000)
    assert np.abs(fit.path - density.mean()).max() < 5 * spread


@pytest.mark.parametrize("bug", ["constant steps", "no memory", "steps too short"])
def test_comparison_with_the_whole_fit_notices_planted_bugs(points, whole, monkeypatch, bug):
    if bug == "constant steps":
        monkeypatch.setattr("bayes_gmm.mle.fit_stream._step_size", lambda number, exponent: 1.0 if number == 1 else 0.3)
    elif bug == "no memory":
        monkeypatch.setattr("bayes_gmm.mle.fit_stream._step_size", lambda number, exponent: 1.0)
    else:
        monkeypatch.setattr("bayes_gmm.mle.fit_stream._step_size", lambda number, exponent: number**-2.0)
    assert errors_away(fit_stream(batches_of(points), 3, average_from=NEVER).mixture, whole) > 4


@pytest.mark.parametrize("exponent", [0.51, 1.0])
def test_every_exponent_allowed_comes_near(points, whole, exponent):
    """Long steps come nearest; for 1 / t the theory asks of the slowest direction a rate that it need not have."""
    fit = fit_stream(batches_of(points), 3, step_exponent=exponent)
    assert errors_away(fit.mixture, whole) < (2.1 if exponent < 0.7 else 4)


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_keeps_its_form(name):
    """An M-step on the covariances of a mixture with the structure gives them back."""
    fit = fit_stream(small_stream(n_batches=4), 3, covariance_type=name, start=TRUTH)
    assert fit.structure.name == name
    with jax.enable_x64(True):
        weights, covariances = jax.numpy.asarray(fit.mixture.weights), jax.numpy.asarray(fit.mixture.covariances)
        again = STRUCTURES[name].estimate(weights, weights[:, None, None] * covariances)
    np.testing.assert_allclose(fit.mixture.covariances, again, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["EII", "VEI", "EEV"])
def test_other_structures_come_near_their_whole_fits(name):
    """A distance of one standard error in each of P parameters costs P / 2 nats; a mean over 3/4 has a third of it."""
    stream = small_stream(n_batches=31)
    fit = fit_stream(stream, 3, covariance_type=name, start=TRUTH)
    x = np.concatenate(stream)
    whole = bg.fit_em(x, 3, covariance_type=name, start=TRUTH)
    lost = whole.log_likelihood - fit.mixture.log_prob(x).sum()
    assert 0 < lost < whole.n_parameters / 2
    assert whole.log_likelihood - TRUTH.log_prob(x).sum() < -whole.n_parameters  # the structure is not the truth's


# One step, written out


def one_em_step(x, mixture):
    shares = mixture.responsibilities(x)
    counts = shares.sum(0)
    means = shares.T @ x / counts[:, None]
    offsets = x[:, None] - means[None]
    covariances = np.einsum("nk,nki,nkj->kij", shares, offsets, offsets) / counts[:, None, None]
    return Mixture.from_moments(counts / counts.sum(), means, covariances)


def assert_same_mixture(ours, expected, rtol=1e-9):
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(ours, name), getattr(expected, name), rtol=rtol, atol=rtol, err_msg=name)


def test_one_batch_is_one_step_of_em():
    (x,) = small_stream(1)
    fit = fit_stream([x], 3, start=TRUTH)
    assert_same_mixture(fit.mixture, one_em_step(x, TRUTH))
    np.testing.assert_allclose(fit.path, [TRUTH.log_prob(x).mean()], rtol=1e-12)


def statistics_of(x, mixture, scaling):
    with jax.enable_x64(True):
        data = blocks(scaling.points_to_unit(x), np.ones(len(x)))
        return np.asarray(
            linear_form.expected_statistics(linear_form.natural(scaling.to_unit(mixture)), data)[1]
        ) / len(x)


def mixture_of(statistics, scaling):
    with jax.enable_x64(True):
        m_step = Problem.of(np.random.default_rng(0).normal(size=(9, 2)), 3).objective().maximise
        return jax.device_get(scaling.to_data(m_step(jax.numpy.asarray(statistics))))


def by_hand(stream, window):
    """The recursion as in the paper, with the share of a short batch, and the mean of the chosen statistics."""
    scaling = Scaling.whitening(stream[0], np.ones(len(stream[0])))
    mixture, statistics, history = TRUTH, 0.0, []
    for number, x in enumerate(stream, 1):
        size = number**-0.6 * min(1, len(x) / len(stream[0]))
        statistics = statistics + size * (statistics_of(x, mixture, scaling) - statistics)
        mixture = mixture_of(statistics, scaling)
        history.append(statistics)
    return mixture_of(np.mean(history[window], axis=0), scaling)


@pytest.mark.parametrize(
    ("n_batches", "average_from", "window"),
    [
        (7, None, slice(1, None)),  # windows begin with batches 1, 2, 4, 8: the last two of them count
        (8, None, slice(3, None)),
        (8, 6, slice(5, None)),
        (8, NEVER, slice(7, None)),
    ],
)
def test_recursion_and_windows_are_those_of_the_definition(n_batches, average_from, window):
    stream = small_stream(n_batches)
    stream[2] = stream[2][:40]
    fit = fit_stream(stream, 3, start=TRUTH, average_from=average_from)
    assert_same_mixture(fit.mixture, by_hand(stream, window), rtol=1e-8)
    assert fit.n_points == sum(map(len, stream))


def test_short_last_batch_changes_little(points, whole):
    stream = [*batches_of(points[:20_000]), points[20_000:20_003]]
    fits = [fit_stream(some, 3, average_from=NEVER) for some in (stream[:-1], stream)]
    # Three points in a thousand of one step: as a full step they would be worth 4 errors of the mean of a component.
    assert errors_away(fits[0].mixture, whole) - 0.1 < errors_away(fits[1].mixture, whole)
    assert np.abs(fits[0].mixture.means - fits[1].mixture.means).max() < 1e-3


def test_same_stream_gives_the_same_fit_bit_for_bit():
    first, again = (fit_stream(small_stream(), 3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.path, again.path)
    np.testing.assert_array_equal(first.mixture.means, again.mixture.means)
    assert (np.diff(first.mixture.means[:, 0]) > 0).all()


# How a stream can end


def interrupted_after(stream, n_batches):
    yield from itertools.islice(stream, n_batches)
    raise KeyboardInterrupt


def test_interrupt_keeps_what_was_learned():
    stream = small_stream()
    fit, expected = fit_stream(interrupted_after(stream, 5), 3), fit_stream(stream[:5], 3)
    assert fit.interrupted
    assert not expected.interrupted
    assert fit.n_batches == len(fit.path) == 5
    assert_same_mixture(fit.mixture, expected.mixture, rtol=1e-14)
    assert "interrupted" in repr(fit)
    with pytest.raises(KeyboardInterrupt):
        fit_stream(interrupted_after(stream, 0), 3)


def test_interrupt_in_the_middle_of_a_batch_leaves_the_last_state(monkeypatch):
    stream, learn = small_stream(), stream_steps.learn
    calls = itertools.count(1)

    def stop_at_four(*arguments):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return learn(*arguments)

    expected = fit_stream(stream[:3], 3)
    monkeypatch.setattr("bayes_gmm.mle.fit_stream.learn", stop_at_four)
    fit = fit_stream(stream, 3)
    assert (fit.n_batches, fit.interrupted) == (3, True)
    assert_same_mixture(fit.mixture, expected.mixture, rtol=1e-14)


def test_component_that_loses_its_points_ends_the_stream_before_that_batch():
    """At batch 1 the step is whole: a component far from everything is left with nothing."""
    far = Mixture.from_moments(TRUTH.weights, [[-3.0, 0.0], [0.0, 1.5], [1e5, 1e5]], TRUTH.covariances)
    with pytest.warns(FitWarning, match="COLLAPSED after 0 batches.*larger batches"):
        fit = fit_stream(small_stream(), 3, start=far)
    assert fit.status is StreamStatus.COLLAPSED
    assert (fit.n_batches, fit.n_points, len(fit.path)) == (0, 0, 0)
    assert_same_mixture(fit.mixture, far)
    with pytest.raises(FitError, match="COLLAPSED"):
        fit.check()


def test_component_that_shrinks_onto_a_line_ends_the_stream():
    rng = np.random.default_rng(0)
    stream = small_stream(3)
    flat = [np.column_stack([rng.normal(40, 1, 200), np.full(200, 40.0)]) for _ in range(200)]
    start = Mixture.from_moments([0.5, 0.5], [[0.0, 0.0], [40.0, 40.0]], [8 * np.eye(2), np.eye(2)])
    mixed = [np.vstack([x, y]) for x, y in zip(stream * 60, flat, strict=False)]
    with pytest.warns(FitWarning, match="COLLAPSED"):
        fit = fit_stream(mixed, 2, start=start)
    assert fit.n_batches < len(mixed)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fit.mixture))


def test_first_batch_whose_fit_collapses_asks_for_a_start():
    x = np.repeat([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]], 20, axis=0)
    with pytest.raises(FitError, match=r"first batch of 60 points.*Give a start"):
        fit_stream([x], 3)


def test_batch_whose_squares_overflow_is_not_learned():
    stream = [1e-10 * x for x in small_stream(2)] + [np.array([[1e149, -1e149], [0.0, 1.0]])]
    with pytest.warns(FitWarning, match="NONFINITE after 2 batches.*extreme values"):
        fit = fit_stream(stream, 3)
    assert_same_mixture(fit.mixture, fit_stream(stream[:2], 3).mixture, rtol=1e-14)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fit.mixture))


# Batches and arguments


def with_nan(x):
    changed = np.array(x)
    changed[7, 1] = np.nan
    return changed


BAD_BATCHES = {
    "NaN": (with_nan(np.zeros((9, 2))), "Batch 3: Column 'x2' holds nan in row 7"),
    "too many columns": (np.zeros((9, 3)), "Batch 3: Found 3 columns.*those of the first batch, 'x1', 'x2'"),
    "one axis": (np.zeros(9), "Batch 3: Found 1 columns"),
    "words": ([["a", "b"]], "Batch 3: .*'a' in row 0"),
    "no rows": (np.zeros((0, 2)), "Batch 3: Found a table without rows"),
}


@pytest.mark.parametrize(("batch", "message"), BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_bad_batch_is_named_by_its_number(batch, message):
    with pytest.raises(DataError, match=message):
        fit_stream([*small_stream(2), batch], 3)


def test_first_batch_must_be_a_table_that_can_be_fitted():
    with pytest.raises(DataError, match=r"Batch 1: .*constant"):
        fit_stream([np.ones((10, 2))], 2)
    with pytest.raises(DataError, match="Batch 1: The table has 5 rows for 6 components"):
        fit_stream([TRUTH.sample(5, seed=0)[0]], 6)
    with pytest.raises(DataError, match="Found no batch"):
        fit_stream(iter([]), 2)


def test_later_batch_may_be_one_row_and_frames_keep_their_names():
    names = ["length", "width"]
    frames = [pd.DataFrame(x, columns=names) for x in small_stream(3)]
    fit = fit_stream([*frames, frames[0][:1], np.array([[0.0, 1.0]])], 3)
    assert fit.columns == tuple(names)
    assert fit.n_points == 602


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *[({"n_components": value}, "n_components is") for value in (0, 2.0, True)],
        *[({"step_exponent": value}, "step_exponent is") for value in (0.5, 1.01, 0, float("nan"), True, "0.6")],
        *[({"average_from": value}, "average_from is") for value in (0, -1, 2.5)],
        *[({"seed": value}, "seed is") for value in (-1, 1.5)],
        ({"covariance_type": "foo"}, "covariance_type is"),
        ({"start": np.zeros(200, int)}, "start is a ndarray"),
        ({"start": Mixture.from_moments([1.0], [[0.0, 0.0]], [np.eye(2)])}, "starting mixture"),
        *[({"batches": value}, "The batches are one") for value in (TRUTH.sample(9, seed=0)[0], "file.csv", 3)],
        ({"batches": bg.datasets.load("faithful")}, "The batches are one Table.*array_split"),
        ({"batches": pd.DataFrame({"x": [1.0, 2.0]})}, "The batches are one DataFrame"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        inspect.unwrap(fit_stream)(**{"batches": small_stream(2), "n_components": 3, **arguments})


def test_progress_is_shown_on_stderr_alone(capsys):
    fit_stream(small_stream(3), 3, start=TRUTH)
    assert capsys.readouterr() == ("", "")
    fit_stream(small_stream(3), 3, start=TRUTH, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "stream" in shown.err


# Compilation, memory and precision


def test_batches_of_one_padded_length_share_one_program(compilations):
    fit_stream(small_stream(2), 3, start=TRUTH)
    compilations.clear()
    lengths = [200, 199, 198, 197, 193]  # 224 with padding
    fit_stream([x[:n] for x, n in zip(small_stream(5), lengths, strict=True)], 3, start=TRUTH, step_exponent=0.7)
    assert compilations == []
    fit_stream(small_stream(1, size=700), 3, start=TRUTH)  # the control: another length
    assert compilations


def test_nothing_is_held_but_one_batch():
    """Each batch is gone before the next but one is made."""
    import gc
    import weakref

    alive = []

    def stream():
        for number in range(6):
            x = TRUTH.sample(200, seed=number)[0]
            alive.append(weakref.ref(x))
            yield x
            del x
            gc.collect()
            assert sum(reference() is not None for reference in alive) <= 1

    fit_stream(stream(), 3, start=TRUTH)
    assert len(alive) == 6


def test_fit_leaves_jax_in_float32_and_answers_in_float64():
    fit = fit_stream(small_stream(2), 3, start=TRUTH)
    assert not jax.config.jax_enable_x64
    assert {(type(a), a.dtype) for a in [*jax.tree.leaves(fit.mixture), fit.path]} == {
        (np.ndarray, np.dtype(np.float64))
    }


def test_units_are_those_of_the_first_batch_only():
    """An affine image of the stream has the image of the fit, though later batches have other means and spreads."""
    matrix, shift, stream = np.array([[0.3, -2.0], [5.0, 0.1]]), 1e3, small_stream()
    image = Mixture.from_moments(TRUTH.weights, TRUTH.means @ matrix.T + shift, matrix @ TRUTH.covariances @ matrix.T)
    fit = fit_stream(stream, 3, start=TRUTH).mixture
    mapped = fit_stream([x @ matrix.T + shift for x in stream], 3, start=image).mixture
    order = np.argsort(fit.means @ matrix[0])
    np.testing.assert_allclose(mapped.weights, fit.weights[order], rtol=1e-9)
    np.testing.assert_allclose(mapped.means, fit.means[order] @ matrix.T + shift, rtol=1e-9)


def test_unit_data_of_one_batch_is_what_the_stream_sees():
    (x,) = small_stream(1)
    scaling = Scaling.whitening(x, np.ones(len(x)))
    with jax.enable_x64(True):
        ours = stream_steps.padded_blocks(scaling.points_to_unit(x))
        eta = linear_form.natural(scaling.to_unit(TRUTH))
        values = [linear_form.expected_statistics(eta, data)[0] for data in (blocks(x, np.ones(len(x)), scaling), ours)]
        np.testing.assert_allclose(*values, rtol=1e-13)
