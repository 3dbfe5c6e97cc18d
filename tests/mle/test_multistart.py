"""Runs of EM in rounds: the same runs whoever makes them, and the best go on."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.core.tuning import Tuning
from bayes_gmm.likelihood.blocks import blocks
from bayes_gmm.mle import multistart
from bayes_gmm.mle.em_run import RUNNING, StoppingRule, advance, begin
from bayes_gmm.mle.multistart import Round, agree, run_rounds
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.problem import Problem
from bayes_gmm.search.initialisation import starting_mixtures

PLAN = (Round(7, 5), Round(3, 15), Round(1, 10_000))
"""Plain steps before the last round: long ones multiply differences of rounding."""

RULE = StoppingRule(tol=1e-8, max_steps=200, smallest_scale=1e-4, accelerate=True)


def points(seed, n_points, n_features=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_points, n_features)) + 2.5 * rng.integers(3, size=(n_points, 1))


@pytest.fixture(scope="module")
def problem():
    return Problem.of(points(1, 12_000), 3)


def runs_of(problem, plan=PLAN):
    with jax.enable_x64(True):
        objective = problem.objective()
        starts = starting_mixtures(problem, objective, None, plan[0].n_runs, seed=2)
        return run_rounds(starts, objective, RULE, plan, path_length=256)


def one_by_one(monkeypatch):
    monkeypatch.setattr(multistart, "_N_CORES", 1)


def in_threads(monkeypatch):
    monkeypatch.setattr(multistart, "_N_CORES", 3)
    tuning = Tuning(milliseconds_worth_a_thread=0.0, milliseconds_worth_a_part=np.inf)
    monkeypatch.setattr(multistart, "TUNING", tuning)


def in_parts(monkeypatch):
    monkeypatch.setattr(multistart, "_N_CORES", 3)
    tuning = Tuning(milliseconds_worth_a_thread=0.0, milliseconds_worth_a_part=1e-3)
    monkeypatch.setattr(multistart, "TUNING", tuning)


def on_an_accelerator(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.fixture(scope="module")
def alone(problem):
    """What each run is when it is followed by itself for so many steps."""

    def values(n_steps):
        with jax.enable_x64(True):
            objective = problem.objective()
            starts = starting_mixtures(problem, objective, None, PLAN[0].n_runs, seed=2)
            follow = jax.jit(partial(advance, limit=n_steps, objective=objective, rule=RULE))
            first = partial(begin, objective=objective, path_length=256)
            return [jax.device_get(follow(first(start))) for start in each(starts)]

    return {n_steps: values(n_steps) for n_steps in (5, 15, 10_000)}


def each(starts):
    starts = jax.device_get(starts)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], starts) for i in range(len(starts.log_weights))]


@pytest.mark.parametrize("way", [one_by_one, in_threads, in_parts, on_an_accelerator])
def test_the_best_go_on_whoever_makes_the_steps(way, problem, alone, monkeypatch):
    way(monkeypatch)
    runs = runs_of(problem)
    second = np.argsort([-run.value for run in alone[5]])[:3]
    last = max(second, key=lambda i: alone[15][i].value)
    assert len(np.unique(second)) < len(alone[5])
    for i, ended in enumerate(zip(*(alone[n] for n in (5, 15, 10_000)), strict=True)):
        expected = ended[2 if i == last else 1 if i in second else 0]
        assert runs.n_steps[i] == pytest.approx(int(expected.n_steps), abs=2 if i == last else 0)
        np.testing.assert_allclose(runs.value[i], expected.value, rtol=1e-12, atol=RULE.tol if i == last else 0)
        np.testing.assert_allclose(runs.mixture.means[i], expected.mixture.means, atol=1e-4)
    assert runs.status[last] == EMStatus.CONVERGED
    assert all(runs.status[np.arange(7) != last] == EMStatus.LEFT_BEHIND)


@pytest.mark.parametrize("n_cores", [2, 5])
def test_threads_change_no_bit(n_cores, problem, monkeypatch):
    in_threads(monkeypatch)
    monkeypatch.setattr(multistart, "_N_CORES", 1)
    expected = runs_of(problem)
    monkeypatch.setattr(multistart, "_N_CORES", n_cores)
    for found, wanted in zip(jax.tree.leaves(runs_of(problem)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("way", [in_threads, in_parts])
def test_threads_are_used(way, problem, monkeypatch):
    way(monkeypatch)
    calls = []
    name = "_one_by_one" if way is in_threads else "_expect"
    called = getattr(multistart, name)
    monkeypatch.setattr(multistart, name, lambda *arguments: calls.append(1) or called(*arguments))
    n_steps = runs_of(problem).n_steps.sum()
    assert len(calls) == (1 + 3 + 3 + 1 if way is in_threads else pytest.approx(3 * n_steps, abs=60))


def test_an_error_in_a_thread_is_the_callers(problem, monkeypatch):
    in_parts(monkeypatch)

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(multistart, "_expect", fail)
    with pytest.raises(KeyboardInterrupt):
        runs_of(problem)


def test_a_round_without_runs_is_skipped(problem):
    ended = runs_of(problem, (Round(4, 10_000), Round(2, 10_000)))
    assert all(ended.status != EMStatus.LEFT_BEHIND)


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_counts_the_runs_that_are_done(problem, progress, monkeypatch, capsys):
    monkeypatch.setattr(multistart, "_MOMENT", 0.0)
    with jax.enable_x64(True):
        objective = problem.objective()
        starts = starting_mixtures(problem, objective, None, 4, seed=2)
        run_rounds(starts, objective, RULE, (Round(4, 5), Round(2, 20)), 256, progress=progress)
    shown = capsys.readouterr().err
    assert ("EM" in shown and "/6 " in shown) == progress
    assert bool(shown) == progress


def runs_at(values, statuses):
    """Runs with these values and statuses."""
    problem = Problem.of(points(6, 60), 3)
    objective = problem.short_objective()
    runs = begin(starting_mixtures(problem, objective, None, len(values), seed=0), objective, path_length=1)
    return replace(runs, value=np.array(values, float), status=np.array(statuses))


def test_runs_agree_where_24_are_at_the_best_maximum_and_one_has_ended_there():
    going, ended, collapsed = RUNNING, int(EMStatus.CONVERGED), int(EMStatus.COLLAPSED)
    lower = [-106.0, -130.0, *[-150.0] * 6]
    agreeing = runs_at([-100.0] * 24 + lower, [ended] + [going] * 31)
    assert agree(agreeing)
    # Those that may end at a maximum that has a share in a posterior go on.
    np.testing.assert_array_equal(multistart._may_go_on(agreeing)[:26], [False, *[True] * 24, False])
    assert not multistart._may_go_on(agreeing)[26:].any()
    assert agree(replace(agreeing, value=agreeing.value + 5e-4 * (np.arange(32) == 3)))
    failed = np.where(np.arange(32) == 31, collapsed, agreeing.status)
    assert agree(replace(agreeing, value=np.where(failed == collapsed, 50.0, agreeing.value), status=failed))


@pytest.mark.parametrize(
    ("values", "statuses"),
    [
        pytest.param([-100.0] * 23 + [-130.0] * 9, [0] + [RUNNING] * 31, id="23 runs"),
        pytest.param([-100.0] * 24 + [-130.0] * 8, [RUNNING] * 32, id="none has ended"),
        pytest.param([-100.0] * 24 + [-130.0] * 7 + [-99.0], [0] * 24 + [RUNNING] * 8, id="another is higher"),
        pytest.param([-100.0] * 24 + [-130.0] * 8, [0] * 20 + [EMStatus.COLLAPSED] * 4 + [RUNNING] * 8, id="collapsed"),
        pytest.param([np.nan] * 32, [RUNNING] * 32, id="before they begin"),
    ],
)
def test_runs_do_not_agree_otherwise_and_all_go_on(values, statuses):
    runs = runs_at(values, statuses)
    assert not agree(runs)
    np.testing.assert_array_equal(multistart._may_go_on(runs), runs.status == RUNNING)


def test_runs_of_several_problems_do_not_look_at_each_others():
    values = np.concatenate([np.where(np.arange(32) < 26, -100.0, -130.0), -500.0 - np.arange(16)])
    runs = runs_at(values, [int(EMStatus.CONVERGED)] + [RUNNING] * 47)
    firsts = np.array([0, 32])
    np.testing.assert_array_equal(agree(runs, firsts), [True, False])
    may = multistart._may_go_on(runs, firsts)
    np.testing.assert_array_equal(may, [False, *[True] * 25, *[False] * 6, *[True] * 16])
    np.testing.assert_array_equal(multistart._best_first(runs, 3, firsts), [1, 2, 3, 32, 33, 34])
    # The control: as runs of one problem those of the second would be left behind.
    assert not multistart._may_go_on(runs)[32:].any()


@pytest.mark.parametrize("short", [True, False], ids=["together", "one by one"])
def test_those_left_behind_would_not_have_found_a_better_maximum(monkeypatch, short):
    """The oracle follows all to their ends, which are the same but for the far ones."""
    x = bg.datasets.load("faithful")
    monkeypatch.setattr(Problem, "is_short", property(lambda problem: short))
    fit = bg.fit_em(x, 2)
    monkeypatch.setattr(multistart, "_AGREEING", 33)
    every = bg.fit_em(x, 2, n_starts=32)
    behind = fit.start_statuses == EMStatus.LEFT_BEHIND
    assert behind.any()
    assert (every.start_statuses == EMStatus.CONVERGED).all()  # the control
    assert fit.log_likelihood == pytest.approx(every.log_likelihood, abs=1e-8)
    np.testing.assert_allclose(fit.mixture.means, every.mixture.means, rtol=1e-5)
    assert every.start_log_likelihoods.max() < fit.log_likelihood + 1e-8
    assert (fit.start_log_likelihoods[behind] < fit.log_likelihood - 20).all()
    np.testing.assert_allclose(fit.start_log_likelihoods[~behind], every.start_log_likelihoods[~behind], atol=1e-7)
    assert f"{behind.sum()} left behind" in repr(fit)
    assert "left behind" not in repr(every)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("n_features", [2, 5])
def test_parts_add_up_to_the_whole(count, n_features):
    x = points(3, 40_000, n_features)
    problem = Problem.of(x, 3)
    with jax.enable_x64(True):
        objective = problem.objective()
        mixture = each(starting_mixtures(problem, objective, None, 1, seed=0))[0]
        expect = jax.jit(lambda data: replace(objective, data=data).expect(mixture))
        parts = objective.data.parts(count)
        value, statistics = (sum(terms) for terms in zip(*map(expect, parts), strict=True))
        whole = expect(objective.data)
    assert len(parts) == count == len({(int(part.first), int(part.stop)) for part in parts})
    assert sum(part.milliseconds(3) for part in parts) == pytest.approx(objective.data.milliseconds(3))
    np.testing.assert_allclose(value, whole[0], rtol=1e-12)
    np.testing.assert_allclose(statistics, whole[1], rtol=1e-9, atol=1e-9 * len(x))


def test_a_block_is_not_cut():
    assert len(blocks(points(5, 300), np.ones(300)).parts(4)) == 1


def test_more_milliseconds_for_more_of_everything():
    small, longer, wider = (blocks(points(4, n, d), np.ones(n)) for n, d in [(5000, 2), (50_000, 2), (5000, 9)])
    assert small.milliseconds(2) < small.milliseconds(3)
    assert small.milliseconds(2) < longer.milliseconds(2)
    assert small.milliseconds(2) < wider.milliseconds(2)
