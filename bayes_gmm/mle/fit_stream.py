r"""EM on minibatches: one pass over a stream of any length, of which only the expected statistics are kept.

An E-step on each batch, a step of decreasing size from the running means of the statistics towards what it found, and
an M-step from them,

.. math:: s_t = s_{t-1} + \gamma_t \, (\bar s(x_t; \theta_{t-1}) - s_{t-1}), \qquad
          \theta_t = \arg\max_\theta Q(\theta; s_t), \qquad \gamma_t = t^{-\alpha}.

With 1/2 < alpha <= 1 this converges to a stationary point of the expected log density. Long steps forget the start
soon but leave noise behind; a mean over the later part of the way removes it (Polyak and Ruppert). The mean is one of
statistics, not of parameters, so that the mixture has its structure.

References
----------
Cappe and Moulines (2009), doi 10.1111/j.1467-9868.2009.00698.x.
"""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from bayes_gmm.core.interruption import until_interrupted
from bayes_gmm.core.validation import positive_integer, real_number, seed_integer
from bayes_gmm.errors import ArgumentError, DataError, FitError, FitWarning
from bayes_gmm.io.rows import add_batch_number, check_several, later_rows
from bayes_gmm.io.table import Table, as_table
from bayes_gmm.io.table_checks import WITHOUT_GAPS, one_of_missing
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.fit_em import fit_em
from bayes_gmm.mle.status import StreamStatus
from bayes_gmm.mle.stream_result import StreamFit
from bayes_gmm.mle.stream_steps import Move, State, average_mixture, empty, learn, m_step_of, padded_blocks
from bayes_gmm.objective.degeneracy import degenerate_components
from bayes_gmm.objective.objective import Objective
from bayes_gmm.objective.problem import Problem


def fit_stream(
    batches: Iterable[Any],
    n_components: int,
    *,
    covariance_type: str = "full",
    start: Any = None,
    step_exponent: float | int = 0.6,
    average_from: int | None = None,
    missing: str = "refuse",
    seed: int = 0,
    progress: bool = False,
) -> StreamFit:
    r"""Fit a mixture of Gaussians to a stream of batches, each of which is seen once.

    .. math:: s_t = s_{t-1} + t^{-\alpha} (\bar s(x_t; \theta_{t-1}) - s_{t-1})

    The first batch fixes the coordinates and, without `start`, the place to begin: let it be a fair sample, large
    enough for a fit of its own. A batch with fewer points than the first counts less, in proportion.

    Parameters
    ----------
    batches
        Tables (n, D) with the same columns, all random samples of one population; n may vary. Equal padded lengths
        share one compiled program.
    n_components
        Number of Gaussians K.
    covariance_type
        One of the fourteen structures, as in `fit_em`.
    start
        A `Mixture`; by default what `fit_em` finds in the first batch.
    step_exponent
        Alpha: above 1/2, at most 1. Near 1/2 the start is forgotten sooner, and averaging matters more.
    average_from
        Number of the batch, counted from 1, from which on statistics are averaged. By default a window that covers
        between the last half and the last three quarters of the batches. In a stream that ends before it, the last
        statistics are taken as they are.
    missing
        "refuse", or "drop" to leave out rows with missing cells, whose number is `StreamFit.n_left_out`; only `fit_em`
        integrates them out.
    seed
        Seed of the random starts on the first batch.
    progress
        Show a bar on stderr.

    Returns
    -------
    StreamFit
        Also when it is stopped by Ctrl-C, with what was learned until then. When a component collapses it ends before
        the batch in which that happens, with a `FitWarning`.

    Raises
    ------
    DataError
        When there is no batch, or one cannot be used; its number is named.
    ArgumentError
        When an argument cannot be used.
    FitError
        When the fit to the first batch collapsed.

    References
    ----------
    Cappe and Moulines (2009), doi 10.1111/j.1467-9868.2009.00698.x; averaging: Polyak and Juditsky (1992),
    doi 10.1137/0330046.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> truth = bg.Mixture.from_moments([0.5, 0.5], [[-2.0], [2.0]], [[[1.0]], [[1.0]]])
    >>> fit = bg.fit_stream((truth.sample(1000, seed=seed)[0] for seed in range(50)), n_components=2)
    >>> fit.n_points, fit.mixture.means.round(1).tolist()
    (50000, [[-2.0], [2.0]])
    """
    plan = _Plan(
        positive_integer("n_components", n_components),
        covariance_type,
        _known_start(start),
        _exponent(step_exponent),
        None if average_from is None else positive_integer("average_from", average_from),
        seed_integer(seed),
        missing,
    )
    one_of_missing(missing, WITHOUT_GAPS)
    learned, interrupted = _learn_all(check_several(batches), plan, progress)
    fit = _report(learned, interrupted)
    if fit.status.failed:
        warnings.warn(f"{fit.ending} {fit.status.advice}", FitWarning, stacklevel=2)
    return fit


class Stream:
    """A stream whose batches come one by one; `fit_stream` is the same for an iterable."""

    def __init__(self, n_components: Any, *, covariance_type: Any = "full", seed: Any = 0) -> None:
        self._plan = _Plan(positive_integer("n_components", n_components), covariance_type, None, 0.6, None, seed)
        self._learned: _Learned | None = None

    def learn(self, batch: Any) -> StreamFit:
        """What is known after one more batch; the first is fitted by EM.

        Raises
        ------
        DataError
            When the batch is no table of finite numbers, or has other columns than the first.
        FitError
            When EM on the first batch ends without a maximum.
        """
        learned = _begin(as_table(batch), self._plan) if self._learned is None else self._learned
        rows, _ = later_rows(batch, learned.problem.table.columns)
        self._learned = _continue(learned, rows, self._plan)
        return _report(self._learned, False)


class _Plan(NamedTuple):
    """Checked arguments of `fit_stream`."""

    n_components: int
    covariance_type: str
    start: Mixture | None
    step_exponent: float
    average_from: int | None
    seed: int
    missing: str = "refuse"


class _Learned(NamedTuple):
    """A state and its history; the list of scores is shared, and its first `n_batches` entries are valid."""

    problem: Problem
    objective: Objective
    state: State
    n_points: int
    n_batches: int
    scores: list[float]
    n_left_out: int = 0
    degeneracies: tuple[str, ...] = ()


def _learn_all(batches: Iterable[Any], plan: _Plan, progress: bool) -> tuple[_Learned, bool]:
    """What was learned from all batches, and whether Ctrl-C ended the stream."""
    with tqdm(batches, desc="stream", unit=" batches", disable=not progress, leave=False) as bar:
        work = until_interrupted(_states(bar, plan))
        last = deque(work, maxlen=1)
    work.reraise_unless(last)
    if not last:
        raise DataError("Found no batch.", "at least one table", "Check the iterator: a generator can be used once.")
    return last[0], work.interrupted


def _states(batches: Iterable[Any], plan: _Plan) -> Iterator[_Learned]:
    """What was learned after each batch, to the first at which a component collapses."""
    learned = None
    for number, batch in enumerate(batches, 1):
        with add_batch_number(number):
            learned = _begin(as_table(batch, missing=plan.missing), plan) if learned is None else learned
            rows, n_left_out = later_rows(batch, learned.problem.table.columns, plan.missing)
        learned = _continue(learned._replace(n_left_out=learned.n_left_out + n_left_out), rows, plan)
        yield learned
        if learned.state.status != StreamStatus.LEARNED:
            return


def _begin(table: Table, plan: _Plan) -> _Learned:
    """Coordinates and start from the first batch."""
    problem = Problem.of(table, plan.n_components, covariance_type=plan.covariance_type)
    start = _fit_first(table, plan) if plan.start is None else plan.start
    shape = (problem.n_components, table.n_features)
    if np.shape(start.means) != shape:
        raise ArgumentError(
            f"The starting mixture has means of shape {np.shape(start.means)}.",
            f"{shape}, components by features",
            "Build it by Mixture.from_moments with one mean for each component.",
        )
    return _Learned(problem, m_step_of(problem), empty(start, problem.scaling), 0, 0, [])


def _fit_first(table: Table, plan: _Plan) -> Mixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # a collapse raises, and steps that run out do no harm
        fit = fit_em(table, plan.n_components, covariance_type=plan.covariance_type, seed=plan.seed)
    if fit.status.failed:
        found = " ".join(
            (f"EM on the first batch of {table.n_points} points ended {fit.status.name}.", *fit.degeneracies)
        )
        raise FitError(found, "a maximum of the likelihood to begin at", f"Give a start. {fit.status.advice}")
    return fit.mixture


def _continue(learned: _Learned, rows: np.ndarray, plan: _Plan) -> _Learned:
    """What is known after one more batch."""
    number, problem = learned.n_batches + 1, learned.problem
    points = problem.scaling.points_to_unit(rows)
    share = min(1.0, len(points) / problem.table.n_points)
    move = Move(_step_size(number, plan.step_exponent) * share, *_window(number, plan.average_from))
    state, score = learn(
        learned.state, padded_blocks(points), move, problem.scaling, problem.smallest_scale, learned.objective
    )
    if state.status != StreamStatus.LEARNED:
        before = problem.scaling.to_data(learned.state.mixture)
        found = degenerate_components(before, rows, problem.table.columns)
        return learned._replace(state=state, degeneracies=found)
    # An interrupted batch may have left its score behind.
    learned.scores[number - 1 :] = [float(score)]
    return learned._replace(state=state, n_points=learned.n_points + len(points), n_batches=number)


def _step_size(number: int, exponent: float) -> float:
    return float(number**-exponent)


def _window(number: int, average_from: int | None) -> tuple[bool, bool]:
    """Whether a batch is averaged, and whether a new window begins with it: by default at each power of two."""
    if average_from is None:
        return True, number & (number - 1) == 0
    return number >= average_from, False


def _report(learned: _Learned, interrupted: bool) -> StreamFit:
    problem, state = learned.problem, learned.state
    mixture = average_mixture(state, problem.scaling, problem.smallest_scale, learned.objective)
    return StreamFit(
        mixture=mixture.permute(np.argsort(mixture.means[:, 0], kind="stable")),
        n_points=learned.n_points,
        n_batches=learned.n_batches,
        path=np.array(learned.scores[: learned.n_batches]),
        status=StreamStatus(int(state.status)),
        interrupted=interrupted,
        structure=problem.structure,
        columns=problem.table.columns,
        degeneracies=learned.degeneracies,
        n_left_out=learned.n_left_out,
    )


def _known_start(start: Any) -> Mixture | None:
    if start is not None and not isinstance(start, Mixture):
        raise ArgumentError(
            f"The start is a {type(start).__name__}.",
            "a Mixture or None",
            "Build it by Mixture.from_moments, or leave it out: the first batch is fitted then.",
        )
    return start


def _exponent(value: Any) -> float:
    expected = "a number above 0.5 and at most 1"
    remedy = "Steps that shrink faster stop short of the maximum, and slower ones never settle; the default is 0.6."
    return real_number("step_exponent", value, above=0.5, most=1.0, expected=expected, remedy=remedy)
