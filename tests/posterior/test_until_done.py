"""Sampling until it is done: overlapping components, modes that were missed, limits, and the two verdicts."""

import re
from time import monotonic
from typing import Any
from unittest import mock

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import bayes_gmm as bg
from bayes_gmm.posterior import overlapping_components, sampling_run as module
from bayes_gmm.posterior.diagnostics import LARGEST_AMBIGUITY, Jumps, judge
from bayes_gmm.posterior.explanations import entries, explain_by_modes
from bayes_gmm.posterior.overlapping_components import KEPT, among_their_like, obstacle
from bayes_gmm.posterior.sampling_options import SamplingOptions
from bayes_gmm.posterior.verdict import VerdictStatus
from bayes_gmm.sampling import chains
from bayes_gmm.sampling.chains import Chains, Plan

pytestmark = pytest.mark.numpyro

GOOD = VerdictStatus.GOOD


def overlapping(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=200) + 2.0 * (rng.random(200) < 0.5))[:, None]


@pytest.fixture(scope="module")
def explored() -> bg.Posterior:
    return bg.fit_nuts(overlapping(1), 2, progress=False)


def invariants(posterior: bg.Posterior) -> np.ndarray:
    """All invariants, (Q, draws)."""
    values = [variable.values for variable in posterior.tree["invariants"].to_dataset().data_vars.values()]
    found = np.concatenate(list(map(entries, values)))
    return found.reshape(len(found), -1)


def test_draws_of_overlapping_components_are_sampled_to_the_end(explored: bg.Posterior) -> None:
    verdict = explored.verdict
    assert verdict.sampling is GOOD
    assert verdict.max_rhat["invariants"] <= 1.01
    assert verdict.min_ess["invariants"] >= 400
    assert explored.draws.log_weights.shape == (4, KEPT, 2)
    assert any("explored from the prior" in note for note in verdict.notes)
    assert len(explored.explanations) == 1
    assert "independence_acceptance_rate" in explored.tree["sample_stats"]


def test_the_components_have_no_names_there_and_the_head_says_both(explored: bg.Posterior) -> None:
    verdict = explored.verdict
    assert verdict.components is VerdictStatus.DOUBTFUL
    assert verdict.status is VerdictStatus.DOUBTFUL
    assert verdict.summary.startswith("sampling GOOD, components DOUBTFUL: ")
    assert verdict.judgements() == {"status": "DOUBTFUL", "sampling": "GOOD", "components": "DOUBTFUL"}


def test_rows_of_components_without_a_name_are_marked(explored: bg.Posterior) -> None:
    comparison = bg.compare(explored.mle, explored)
    ambiguous = explored.relabelling.ambiguous
    assert (ambiguous > LARGEST_AMBIGUITY).any()
    for row in comparison.rows:
        assert row.ambiguity == ambiguous[row.component]
        assert ("ambiguous" in row.flags) == (row.ambiguity > LARGEST_AMBIGUITY)
    worst = int(ambiguous.argmax())
    assert f"component {worst} (ambiguous: another one in {ambiguous[worst]:.0%} of the draws)" in str(comparison)
    assert any("quote the density, clusters or sorted quantities" in line for line in comparison.hidden())


def test_draws_do_not_depend_on_how_fast_the_chains_went(explored: bg.Posterior) -> None:
    with mock.patch.object(chains, "_SECONDS", 1e-9):  # one transition in each call of the program
        again = bg.fit_nuts(overlapping(1), 2, progress=False)
    np.testing.assert_array_equal(again.draws.means, explored.draws.means)


def test_nuts_is_given_up_where_its_trajectories_are_long_and_only_there() -> None:
    options = SamplingOptions.of(
        num_warmup=200, num_samples=None, num_chains=4, target_accept_prob=0.8, seed=0, relabelling="responsibilities",
        progress=False,
    )  # fmt: skip
    plan = Plan(options.num_warmup, options.target_accept_prob)

    def asked(n_steps: int, **changes: Any) -> int | None:
        seen = {"n_steps": np.full((4, 120), n_steps), "step_size": np.full((4, 120), 0.5), "lp": np.zeros((4, 120))}
        stop = module._Stop(
            options,
            plan._replace(**changes.pop("plan", {})),
            monotonic(),
            explorable=changes.pop("explorable", True),
        )
        end = stop(seen)
        assert stop.hopeless == (end is not None)
        return end

    assert asked(9) is None  # 4.5 long, as in a Gaussian
    assert asked(40) == module.FIRST_LOOK
    assert asked(40, plan={"adapts_metric": True}) is None
    assert asked(40, explorable=False) is None


@pytest.mark.slow
def test_invariants_are_those_of_a_long_run_of_nuts(explored: bg.Posterior) -> None:
    """The run of NUTS is six times as long, with short steps; a quarter of an sd would be .1 at the median."""
    long = bg.fit_nuts(
        explored.table, 2, start=explored.mle, num_samples=6000, target_accept_prob=0.95, seed=5, progress=False
    )
    assert long.verdict.sampling is GOOD
    ours, theirs = invariants(explored), invariants(long)
    quantiles = np.quantile(theirs, [0.05, 0.5, 0.95], axis=1)
    shares = [(part[None] < quantiles[:, :, None]).mean(2) for part in (ours, theirs)]
    # Four Monte Carlo errors at 400 and 1000 effective draws.
    error = np.sqrt(np.array([0.05 * 0.95, 0.25, 0.05 * 0.95]) * (1 / 400 + 1 / 1000))[:, None]
    assert (np.abs(shares[0] - shares[1]) < 4 * error).all()
    shifted = ours + 0.5 * ours.std(1, keepdims=True)
    assert (np.abs((shifted[None] < quantiles[:, :, None]).mean(2) - shares[1]) > 4 * error).any()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_draws(explored: bg.Posterior) -> None:
    again = bg.fit_nuts(explored.table, 2, progress=False)
    np.testing.assert_array_equal(again.draws.means, explored.draws.means)


def test_easy_data_take_the_way_of_nuts(faithful: bg.Table) -> None:
    with mock.patch.object(module, "explore", side_effect=AssertionError):
        posterior = bg.fit_nuts(faithful, 2, progress=False)
    assert posterior.verdict.status is GOOD
    assert not posterior.verdict.notes


def test_a_number_of_draws_is_taken_literally(explored: bg.Posterior) -> None:
    posterior = bg.fit_nuts(explored.table, 2, start=explored.mle, num_samples=300, progress=False)
    assert posterior.draws.log_weights.shape == (4, 300, 2)
    assert posterior.verdict.sampling is not GOOD


def two_ways(seed: int) -> np.ndarray:
    """Four clusters at the corners of a square, and their mirror image: two Gaussians can halve them in two ways."""
    rng = np.random.default_rng(seed)
    half = 3.0 * rng.choice([-1.0, 1.0], size=(100, 2)) + rng.normal(size=(100, 2))
    return np.concatenate([half, half[:, ::-1]])


@pytest.fixture(scope="module")
def from_one_mode() -> bg.Posterior:
    x = two_ways(2)
    return bg.fit_nuts(x, 2, start=bg.fit_em(x, 2, start=(x[:, 0] > 0).astype(int)), progress=False)


def first_way(posterior: bg.Posterior) -> np.ndarray:
    """Whether the means of each draw differ more in the first feature than in the second."""
    apart = np.abs(posterior.draws.means[..., 0, :] - posterior.draws.means[..., 1, :])
    return apart[..., 0] > apart[..., 1]


@pytest.mark.slow
def test_a_mode_that_em_missed_is_found_and_has_its_mass(from_one_mode: bg.Posterior) -> None:
    assert from_one_mode.verdict.sampling is GOOD
    share = first_way(from_one_mode)
    n_switches = (share[:, 1:] != share[:, :-1]).sum(1)
    assert (n_switches > 50).all()
    # As many independent draws as switches, at least.
    assert abs(share.mean() - 0.5) < 4 * 0.5 / np.sqrt(n_switches.sum())
    assert len(from_one_mode.explanations) == 2
    assert all(abs(one.mode_share - 0.5) < 4 * one.mass_error for one in from_one_mode.explanations)


@pytest.mark.slow
def test_explanations_between_which_chains_move_have_masses(from_one_mode: bg.Posterior) -> None:
    """The mean density of each way stands for its mode; two modes of one way are one explanation."""
    first, points = first_way(from_one_mode), from_one_mode.table.values[::4]
    densities = from_one_mode.log_likelihoods(points)
    one, other = densities[first].mean(0), densities[~first].mean(0)
    found = explain_by_modes(from_one_mode.tree, densities, np.stack([one, other]))
    assert len(found) == 2
    assert found[0].mode_share + found[1].mode_share == pytest.approx(1.0)
    assert abs(max(first.mean(), 1 - first.mean()) - found[0].mode_share) < 0.02
    assert abs(found[0].mode_share - 0.5) < 4 * found[0].mass_error
    assert "of mass" in str(found[0])
    assert explain_by_modes(from_one_mode.tree, densities, np.stack([one, one + 1e-3])) == ()


@pytest.mark.slow
def test_a_mode_without_draws_is_noticed_by_the_pilot(from_one_mode: bg.Posterior) -> None:
    judged = judge(from_one_mode.tree, from_one_mode.relabelling, jumps=Jumps(np.full(4, 0.3), 0.34))
    assert judged.sampling is VerdictStatus.BAD
    assert "34% of the particles" in judged.reasons[0]
    refused = judge(from_one_mode.tree, from_one_mode.relabelling, jumps=Jumps(np.array([0.3, 0.3, 0.3, 0.001]), 0.0))
    assert refused.sampling is VerdictStatus.DOUBTFUL
    assert judge(from_one_mode.tree, from_one_mode.relabelling, jumps=Jumps(np.full(4, 0.3), 0.0)).sampling is GOOD


def test_a_missed_mode_is_told_from_points_in_the_tails() -> None:
    """Of 500 points six lie together far away, and the six farthest of the others lie alone."""
    points = np.random.default_rng(0).normal(size=(500, 8))
    points[:6] = 12 + 0.1 * points[:6]
    tails = 6 + np.argsort(-(points[6:] ** 2).sum(1))[:6]
    marked = np.isin(np.arange(500), [*range(6), *tails])
    np.testing.assert_array_equal(np.flatnonzero(among_their_like(marked, points)), np.arange(6))


def test_time_runs_out_and_it_is_said() -> None:
    posterior = bg.fit_nuts(overlapping(2), 2, max_seconds=0.01, progress=False)
    assert any("max_seconds" in note for note in posterior.verdict.notes)
    assert posterior.verdict.sampling is not GOOD


def test_many_components_stay_with_nuts_and_it_is_said() -> None:
    x = np.random.default_rng(0).normal(size=(60, 1))
    problem = module.PosteriorProblem.of(x, 7, covariance_type="full", prior=None)
    assert obstacle(problem) == "7 components are more than 6"
    large = module.PosteriorProblem.of(
        np.random.default_rng(0).normal(size=(200_000, 1)), 2, covariance_type="full", prior=None
    )
    assert obstacle(large) == "200000 points are too many for a pilot"


class WithoutDraws(dist.HalfNormal):
    """A density alone, as a user writes it."""

    def sample(self, key, sample_shape=()):
        raise NotImplementedError


def test_a_prior_without_draws_stays_with_nuts_and_it_is_said() -> None:
    options = {"covariance_type": "full"}
    without, with_draws = (
        module.PosteriorProblem.of(overlapping(1), 2, prior=bg.Prior(scales=family(2.0)), **options)
        for family in (WithoutDraws, dist.HalfNormal)
    )
    assert obstacle(without) == "the prior of scales has a density and cannot be drawn from"
    assert not obstacle(with_draws)


@pytest.mark.slow
def test_a_posterior_whose_prior_has_no_draws_is_sampled() -> None:
    posterior = bg.fit_nuts(overlapping(1), 2, prior=bg.Prior(scales=WithoutDraws(2.0)), progress=False)
    assert any("cannot be drawn from" in note for note in posterior.verdict.notes)


@pytest.mark.slow
def test_chains_that_cannot_be_explored_are_made_longer() -> None:
    """A thousand draws of each chain are not worth as much as is asked for; those of longer ones are worth more."""
    rng = np.random.default_rng(0)
    apart = rng.normal(size=(150, 3)) + 8.0 * rng.integers(2, size=150)[:, None]
    with mock.patch.object(overlapping_components, "_MOST_COORDINATES", 10):
        posterior = bg.fit_nuts(apart, 2, progress=False, min_ess=2500.0, max_seconds=600.0)
    assert any("19 parameters are more than 10" in note and "times as long" in note for note in posterior.verdict.notes)
    assert posterior.draws.log_weights.shape[1] == KEPT
    short = bg.fit_nuts(apart, 2, num_samples=KEPT, progress=False)
    assert posterior.verdict.min_ess["invariants"] > 1.5 * short.verdict.min_ess["invariants"]


@pytest.mark.parametrize("interrupted", [False, True])
def test_longer_chains_that_time_cuts_short_replace_no_draws(
    faithful: bg.Table, interrupted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, lengths = module._sample, []

    def cut_short(*arguments: Any, times: int = 1, **options: Any) -> Any:
        found = sample(*arguments, **options)
        lengths.append(times)
        if times == 1:
            return found
        few = {name: values[:, :7] for name, values in found.chains.statistics.items()}
        chains = Chains(found.chains.coordinates[:, :7], few, interrupted)
        draws = jax.tree.map(lambda leaf: leaf[:, :7], found.draws)
        return found._replace(chains=chains, draws=draws, log_likelihood=found.log_likelihood[:, :7])

    monkeypatch.setattr(module, "_sample", cut_short)
    with mock.patch.object(overlapping_components, "_MOST_COORDINATES", 5):
        posterior = bg.fit_nuts(faithful, 2, seed=0, progress=False, min_ess=1e5, max_seconds=600.0)
    assert lengths == [1, 4]
    assert posterior.draws.log_weights.shape[1] == KEPT
    assert posterior.interrupted == interrupted
    assert any("ended with the draws of NUTS" in note for note in posterior.verdict.notes)


def test_longer_chains_are_thinned() -> None:
    whole = np.arange(4000.0).reshape(2, 2000, 1)
    kept = Chains(whole, {"lp": whole[..., 0]}, interrupted=False).thinned(700)
    np.testing.assert_array_equal(kept.coordinates, whole[:, 1::2])
    np.testing.assert_array_equal(kept.statistics["lp"], whole[:, 1::2, 0])
    np.testing.assert_array_equal(Chains(whole, {}, interrupted=False).thinned(3000).coordinates, whole)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("argument", "value"),
    [("min_ess", 0), ("min_ess", "many"), ("max_seconds", -1.0), ("max_seconds", np.nan), ("max_seconds", None)],
)
def test_bad_limits_are_named(argument: str, value: object, faithful: bg.Table) -> None:
    with pytest.raises(bg.ArgumentError, match=re.escape(argument)):
        bg.fit_nuts(faithful, 2, progress=False, **{argument: value})


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["tempered_pilot", "independence_chains"])
def test_an_interrupt_keeps_the_draws_there_are(stage: str, explored: bg.Posterior) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    name = "explore" if stage == "tempered_pilot" else "prepare"
    with mock.patch.object(getattr(overlapping_components, stage), name, interrupted):
        posterior = bg.fit_nuts(explored.table, 2, start=explored.mle, progress=False)
    assert any("draws of NUTS alone" in note for note in posterior.verdict.notes)
    assert "independence_acceptance_rate" not in posterior.tree["sample_stats"]


@pytest.mark.slow
def test_an_interrupt_while_sampling_keeps_the_finished_iterations(explored: bg.Posterior) -> None:
    original = overlapping_components.independence_chains.sample

    def interrupted(*arguments: object, **options: object) -> object:
        for number, part in enumerate(original(*arguments, **options)):
            if number == 3:
                raise KeyboardInterrupt
            yield part

    with mock.patch.object(overlapping_components.independence_chains, "sample", interrupted):
        posterior = bg.fit_nuts(explored.table, 2, start=explored.mle, progress=False)
    assert posterior.interrupted
    assert posterior.draws.log_weights.shape == (4, 300, 2)
    np.testing.assert_array_equal(posterior.draws.log_weights, explored.draws.log_weights[:, :300])


def test_one_chain_of_easy_data_is_good() -> None:
    x = np.concatenate([np.random.default_rng(8).normal(center, 1.0, 100) for center in (0.0, 5.0)])[:, None]
    posterior = bg.fit_nuts(x, 2, num_chains=1, progress=False)
    assert posterior.verdict.sampling is GOOD


@pytest.mark.slow
def test_where_many_transitions_diverge_the_posterior_is_explored() -> None:
    """R-hat and effective sample size of NUTS suffice there, but 45 of its 4000 transitions diverge."""
    x = bg.Mixture.from_moments([4 / 9, 5 / 9], [[0.0], [2.0]], np.ones((2, 1, 1))).sample(1000, seed=2)[0]
    posterior = bg.fit_nuts(x, 2, seed=2, progress=False)
    assert posterior.verdict.sampling is GOOD
    assert any("explored from the prior" in note for note in posterior.verdict.notes)
