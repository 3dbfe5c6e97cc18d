"""Bootstrap errors are those of mclust and of theory; replicates are fits to the resampled rows."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.assessment import bootstrap
from bayes_gmm.errors import ArgumentError, FitError
from bayes_gmm.mle.status import EMStatus

REFERENCE = json.loads((Path(__file__).parents[1] / "references" / "mclust_bootstrap.json").read_text())


@pytest.fixture(scope="module")
def by_kind(faithful_mle):
    return {kind: bg.bootstrap(faithful_mle, kind=kind) for kind in ("rows", "weights")}


@pytest.mark.parametrize("kind", ["rows", "weights"])
def test_errors_are_those_of_mclust(by_kind, kind):
    """Two sds of R replicates differ by a factor with sd sqrt(1 / (2 R) + 1 / (2 R)), and heavier tails double it.

    With 25 numbers and R = 1000 and 999 the largest of them is within 4 of these sds.
    """
    assert by_kind[kind].usable.all()
    for name, expected in REFERENCE[kind].items():
        ratio = by_kind[kind].standard_errors[name] / np.array(expected)
        assert np.abs(np.log(ratio)).max() < 4 * np.sqrt(1 / 1000) * 2, name


def test_comparison_with_mclust_notices_errors_of_half_the_data(by_kind):
    ratio = np.sqrt(2) * by_kind["rows"].standard_errors["means"] / np.array(REFERENCE["rows"]["means"])
    assert np.abs(np.log(ratio)).min() > 8 * np.sqrt(1 / 1000)


def test_replicates_are_fits_to_the_resampled_rows(faithful, faithful_mle):
    rng = np.random.default_rng(5)
    weights = bootstrap._resample(rng, np.ones(272), 3, "rows")
    mixtures, statuses = bootstrap._fit_all(faithful_mle, weights)
    assert (statuses == EMStatus.CONVERGED).all()
    for i in range(3):
        rows = np.repeat(faithful.values, weights[i].astype(int), axis=0)
        expected = bg.fit_em(rows, 2, start=faithful_mle.mixture).mixture
        # Within 1e-6 nats of the top parameters are within sqrt(2e-6) = 1.4e-3 standard errors.
        assert np.abs(mixtures.means[i] - expected.means).max() < 1.4e-3 * 0.6
        assert np.abs(mixtures.weights[i] - expected.weights).max() < 1.4e-3 * 0.03
    assert np.abs(mixtures.means[0] - mixtures.means[1]).max() > 0.01


def test_resampling_keeps_the_weight_of_all_and_the_mean_of_each():
    sample_weight = np.array([0.0, 1.0, 2.0, 5.0])
    for kind in ("rows", "weights"):
        weights = bootstrap._resample(np.random.default_rng(0), sample_weight, 20_000, kind)
        np.testing.assert_allclose(weights.sum(1), 8, rtol=1e-12)
        assert (weights[:, 0] == 0).all()
    assert (bootstrap._resample(np.random.default_rng(0), sample_weight, 9, "rows") % 1 == 0).all()


def test_every_row_is_drawn_as_often_as_it_weighs():
    sample_weight = np.random.default_rng(1).integers(0, 4, 100).astype(float)
    for kind in ("rows", "weights"):
        weights = bootstrap._resample(np.random.default_rng(2), sample_weight, 20_000, kind)
        # Sds are at most 3, means are of 20 000, and the largest of 100 is within 5 standard errors; exponentials with
        # their sum divided out have means that are lower by a part in 100 where the weight is large.
        assert np.abs(weights.mean(0) - sample_weight).max() < 5 * 3 / np.sqrt(20_000) + 0.05 * (kind == "weights")


def test_intervals_are_quantiles_of_the_replicates(by_kind):
    lower, upper = by_kind["rows"].intervals(0.9)["weights"]
    inside = (by_kind["rows"].draws.weights >= lower) & (by_kind["rows"].draws.weights <= upper)
    np.testing.assert_allclose(inside.mean(0), 0.9, atol=2e-3)


def test_known_labels_and_held_parameters_stay(faithful):
    labels = np.where(faithful.values[:, 0] > 4, 1, np.where(faithful.values[:, 0] < 2, 0, -1))
    fit = bg.fit_em(faithful, 2, labels=labels, fixed={"means": {0: [2.0, 54.0]}})
    replicates = bg.bootstrap(fit, n_replicates=50)
    assert replicates.usable.all()
    assert (replicates.standard_errors["means"][0] == 0).all()
    ratio = replicates.standard_errors["means"][1] / fit.standard_errors["means"][1]
    # Errors of 50 replicates are good to a tenth: a factor of two would be a mistake.
    assert (np.abs(np.log(ratio)) < np.log(2)).all()


def test_same_seed_same_replicates_and_another_seed_others(faithful_mle):
    first, again, other = (bg.bootstrap(faithful_mle, n_replicates=5, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.draws.means, again.draws.means)
    assert not np.array_equal(first.draws.means, other.draws.means)
    assert first.draws.means.shape == (5, 2, 2)
    assert repr(first) == "Bootstrap of rows: 5 of 5 replicates usable"


def test_interrupt_keeps_the_replicates_that_are_done(faithful_mle, monkeypatch):
    whole, calls = bg.bootstrap(faithful_mle, n_replicates=300), []
    plain = bootstrap._fit_all

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr("bayes_gmm.assessment.bootstrap._fit_all", interrupted)
    part = bg.bootstrap(faithful_mle, n_replicates=300)
    assert part.interrupted
    assert "interrupted" in repr(part)
    assert 0 < len(part.statuses) < 300
    np.testing.assert_array_equal(part.draws.means, whole.draws.means[: len(part.statuses)])


def test_second_bootstrap_of_another_table_compiles_nothing(faithful, faithful_mle, compilations):
    bg.bootstrap(faithful_mle, n_replicates=200)
    fit = bg.fit_em(faithful.values[::-1] * 2, 2)
    compilations.clear()
    bg.bootstrap(fit, n_replicates=200)
    assert compilations == []


def test_replicates_that_collapse_are_counted_and_left_out(faithful_mle, by_kind):
    spoilt = jax.tree.map(lambda leaf: leaf, by_kind["rows"])
    statuses = np.where(np.arange(1000) < 999, EMStatus.COLLAPSED, EMStatus.CONVERGED)
    spoilt = bg.Bootstrap(draws=spoilt.draws, statuses=statuses, kind="rows", interrupted=False, fit=faithful_mle)
    assert "1 of 1000 replicates usable" in repr(spoilt)
    with pytest.raises(FitError, match="1 of 1000 replicates converged"):
        _ = spoilt.standard_errors


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "jackknife"}, "kind is 'jackknife'"),
        ({"n_replicates": 0}, "n_replicates is 0"),
        ({"n_replicates": 2.5}, "n_replicates is 2.5"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments_are_refused(faithful_mle, options, message):
    with pytest.raises(ArgumentError, match=message):
        bg.bootstrap(faithful_mle, **options)


def test_level_is_a_probability(by_kind):
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ArgumentError, match="level is"):
            by_kind["rows"].intervals(level)
