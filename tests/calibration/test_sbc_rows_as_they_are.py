"""Simulation-based calibration of NUTS where rows have gaps or errors, where tails are heavy, and where there is noise.

Truths and data come from the same model: gaps at random given the first column, errors of known sds, degrees of freedom
and the weight of noise from their default priors. The control of each is the plain fit of the same rows.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from recording import Record
from sbc import CHAINS, Setting, collected, numbers, rejected, row, sampled, settings, thinned
from uniformity import DRAWS

import bayes_gmm as bg
from bayes_gmm.bayes.shifted_gamma import ShiftedGamma
from bayes_gmm.likelihood.pointwise import log_densities
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import box_from
from bayes_gmm.mixture.scaling import Scaling

pytestmark = [pytest.mark.slow, pytest.mark.numpyro, pytest.mark.filterwarnings("ignore::bayes_gmm.FitWarning")]

DATA_SETS = 100
SETTING = Setting(2, 2, 80, concentration=5.0, spread=10.0, shape=10.0)
"""Means mostly lie apart, so that what is learned is what the rows tell, not that components are hard to tell apart."""
LOW, HIGH = np.full(2, -40.0), np.full(2, 40.0)
SDS = np.random.default_rng(9).uniform(0.3, 1.5, (SETTING.n_points, 2))


class Rows(NamedTuple):
    """Rows of one kind: what a truth becomes and what is seen of its points, by a generator, and how both are fitted.

    `prior` and `options` are those of the fit that knows, `plain` those of the one that does not.
    """

    truth: Callable[[Mixture, np.random.Generator], Mixture]
    seen: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    prior: dict[str, Any]
    options: dict[str, Any]
    plain: dict[str, Any]


def unchanged(first: Any, rng: np.random.Generator) -> Any:
    return first


def with_gaps(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The second cell is missing the more often, the larger the first."""
    found = x.copy()
    found[rng.uniform(size=len(x)) < 0.1 + 0.6 / (1 + np.exp(-x[:, 0] / 5)), 1] = np.nan
    return found


def with_errors(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x + SDS * rng.normal(size=x.shape)


def with_tails(truth: Mixture, rng: np.random.Generator) -> Mixture:
    return replace(truth, degrees_of_freedom=np.full(truth.n_components, 1 + rng.gamma(2.0, 10.0)))


def with_noise(truth: Mixture, rng: np.random.Generator) -> Mixture:
    return truth.with_noise(rng.beta(1.0, 9.0), LOW, HIGH)


KINDS = {
    "gaps": Rows(unchanged, with_gaps, {}, {}, {"missing": "drop"}),
    "errors": Rows(unchanged, with_errors, {}, {"errors": SDS}, {}),
    "errors and gaps": Rows(
        unchanged,
        lambda x, rng: with_gaps(with_errors(x, rng), rng),
        {},
        {"errors": SDS},
        {"missing": "drop"},
    ),
    "heavy tails": Rows(
        with_tails, unchanged, {"degrees_of_freedom": ShiftedGamma(2.0, 0.1, 1.0)}, {"components": "t"}, {}
    ),
    "heavy tails and gaps": Rows(
        with_tails,
        with_gaps,
        {"degrees_of_freedom": ShiftedGamma(2.0, 0.1, 1.0)},
        {"components": "t"},
        {"missing": "drop"},
    ),
    "noise and errors": Rows(
        with_noise,
        with_errors,
        {"noise": dist.Beta(1.0, 9.0)},
        {"noise": box_from(LOW, HIGH, 0.1, 2), "errors": SDS},
        {"errors": SDS},
    ),
    "noise": Rows(with_noise, unchanged, {"noise": dist.Beta(1.0, 9.0)}, {"noise": box_from(LOW, HIGH, 0.1, 2)}, {}),
}


def quantities(mixtures: Mixture, x: np.ndarray, errors: np.ndarray | None) -> dict[str, np.ndarray]:
    """Label-invariant functions of mixtures (S,), by name; the log-likelihood is that of what was observed."""
    found = log_densities(mixtures, x, Scaling(center=np.zeros(2), factor=np.eye(2)), errors).sum(-1)
    weights, scatter = mixtures.weights, (mixtures.weights[..., None, None] * mixtures.scatters).sum(-3)
    values = {
        "log-likelihood": found,
        "log density at 0": mixtures.log_prob(np.zeros((1, 2)))[:, 0],
        "weight entropy": -(weights * np.log(weights)).sum(-1),
        "smallest scale": mixtures.scales.min((1, 2)),
        **{f"mean {d}": (weights[..., None] * mixtures.means).sum(-2)[:, d] for d in range(2)},
        **{f"mean scatter {i}{j}": scatter[:, i, j] for i in range(2) for j in range(i + 1)},
    }
    if mixtures.noise is not None:
        values["noise weight"] = mixtures.noise_weight
    if mixtures.degrees_of_freedom is not None:
        values["degrees of freedom"] = mixtures.degrees_of_freedom[:, 0]
    return values


def ranks(truth: Mixture, posterior: bg.Posterior, x: np.ndarray, errors: np.ndarray | None) -> dict[str, int]:
    """Number of draws below the truth of each quantity that both have."""
    known = quantities(jax.tree.map(lambda leaf: np.asarray(leaf)[None], truth), x, errors)
    drawn = quantities(thinned(posterior.draws), x, errors)
    return {name: int((values < known[name]).sum()) for name, values in drawn.items()}


@cache
def calibration(kind: str, n_data_sets: int) -> dict[str, dict[str, np.ndarray]]:
    """Ranks of the fit that knows, and of the plain one."""
    rows, found = KINDS[kind], {"knowing": [], "plain": []}
    prior, K = SETTING.prior(), SETTING.n_components
    knowing = replace(prior, **rows.prior)
    truths = prior.sample(n_data_sets, K, 2, seed=11)
    for i in range(n_data_sets):
        rng = np.random.default_rng([12, i])
        truth = rows.truth(jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], truths), rng)
        x = rows.seen(truth.sample(SETTING.n_points, seed=i)[0], rng)
        errors = None if (sds := rows.options.get("errors")) is None else sds[..., None] ** 2 * np.eye(2)
        fits = {
            "knowing": sampled(x, SETTING, knowing, i, **rows.options),
            "plain": sampled(x, SETTING, prior, i, **rows.plain),
        }
        for name, posterior in fits.items():
            found[name].append(ranks(truth, posterior, x, errors))
    return {name: collected(each) for name, each in found.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_nuts_is_calibrated_and_the_plain_fit_is_not(kind: str, record: Record) -> None:
    n_data_sets = record.number(DATA_SETS)
    found = calibration(kind, n_data_sets)
    setting = f"K=2, D=2, N={SETTING.n_points}, {kind}"
    lines = [
        row("NUTS: rank of the truth among draws", setting, found["knowing"]),
        row("control: NUTS of the plain model", setting, found["plain"], noticed=1),
    ]
    seeds = {"truths": 11, "data": "12 and the number of the data set"}
    more = settings(n_data_sets, chains=CHAINS, draws=DRAWS) | {"seeds": seeds}
    record(f"sbc_rows_{kind.replace(' ', '_')}", lines, more, {name: numbers(each) for name, each in found.items()})
    assert rejected(found["knowing"]) == set()
    assert lines[1].holds
