"""Runs of NUTS that went well, and the same with a failure planted; each judged, and held against a long run.

A failure is planted in the arguments of `fit_nuts`, or in the draws, which `judge` and `explain` then see as they see
those of `fit_nuts`.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import numpyro.distributions as dist
import xarray as xr

import bayes_gmm as bg
from bayes_gmm.posterior.diagnostics import judge
from bayes_gmm.posterior.explanations import explain, scalars
from bayes_gmm.posterior.verdict import Verdict
from bayes_gmm.sampling.chains import Plan
from bayes_gmm.sampling.nuts import Nuts

QUANTILES = np.array([0.05, 0.5, 0.95])
FARTHEST = np.array([0.05, 0.1, 0.05])
"""An answer is wrong when, for some quantity, the share of draws below a quantile of the long run is off by more than
this: four Monte Carlo errors at the smallest effective size that a GOOD verdict allows, a quarter of an sd."""

LONG = 3000
GROUPS = ("invariants", "posterior", "sample_stats")

MECHANISMS = {
    "never moved": "frozen",
    "different explanations": "explanations",
    "though none stands apart": "R-hat of invariants",
    "not on single components": "R-hat of components",
    "effective sample size": "ESS",
    "diverged": "divergences",
    "largest tree depth": "tree depth",
    "energy mixes slowly": "BFMI",
    "of the draws component": "ambiguous component",
    "there is no posterior": "ties",
    "from the prior lie where": "uncovered",
    "of the independence proposals": "jumps",
    "spike on such a tie": "ties",
    "got no chain": "mode without a chain",
}
NOTES = {"got no chain": "note of modes without a chain"}


class Judged(NamedTuple):
    """Status of a verdict and of its judgement on sampling, by what it came to it, and whether the answer was right."""

    status: str
    sampling: str
    mechanisms: frozenset[str]
    noted: frozenset[str]
    right: bool


class Base(NamedTuple):
    """A data set, its fit, draws by default, and quantiles (Q, 3) of each quantity in a long run."""

    x: np.ndarray
    n_components: int
    mle: bg.EMFit
    posterior: bg.Posterior
    long: np.ndarray

    def again(self, **options: Any) -> bg.Posterior:
        """Draws from the same posterior, otherwise sampled."""
        return drawn(self.x, self.n_components, start=self.mle, **options)


def drawn(x: np.ndarray, n_components: int, **options: Any) -> bg.Posterior:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.FitWarning)  # the verdict repeats it
        return bg.fit_nuts(x, n_components, progress=False, **options)


def quantities(tree: Any) -> np.ndarray:
    """All invariants and relabelled parameters, (Q, draws)."""
    values = np.concatenate([part for group in GROUPS[:2] for part in scalars(tree[group].to_dataset())])
    return values.reshape(len(values), -1)


def is_right(tree: Any, long: np.ndarray) -> bool:
    """Whether the draws lie as often as they should below the quantiles (Q, 3) of the long run."""
    return agree(quantities(tree), long)


def agree(values: np.ndarray, long: np.ndarray) -> bool:
    """The same of values (Q, draws).

    Where many draws are equal to a quantile, as probabilities of one are, the share below it is less than it says and
    the share up to it more: what it says should lie between the two.
    """
    below, up_to = ((values[:, :, None] < long[:, None]).mean(1), (values[:, :, None] <= long[:, None]).mean(1))
    # What is constant says nothing.
    varying = np.ptp(long, axis=1) > 0
    near = (below <= QUANTILES + FARTHEST) & (up_to >= QUANTILES - FARTHEST)
    return bool(near[varying].all())


def judged(verdict: Verdict, right: bool) -> Judged:
    named = [
        frozenset(name for text, name in texts.items() for sentence in sentences if text in sentence)
        for texts, sentences in ((MECHANISMS, verdict.reasons), (NOTES, verdict.notes))
    ]
    return Judged(verdict.status.name, verdict.sampling.name, *named, right)


def of_posterior(posterior: bg.Posterior, long: np.ndarray) -> Judged:
    return judged(posterior.verdict, is_right(posterior.tree, long))


def of_groups(groups: dict[str, xr.Dataset], base: Base) -> Judged:
    """Judge draws of which some were replaced; chains began in the one mode."""
    tree, n_chains = xr.DataTree.from_dict(groups), base.posterior.draws.log_weights.shape[0]
    explanations = explain(tree, np.zeros(n_chains, int), np.ones(1))
    return judged(judge(tree, base.posterior.relabelling, explanations=explanations), is_right(tree, base.long))


def groups_of(posterior: bg.Posterior) -> dict[str, xr.Dataset]:
    return {name: posterior.tree[name].to_dataset().copy(deep=True) for name in GROUPS}


# Planted in the draws


def one_chain_frozen(base: Base) -> Judged:
    """The last chain repeats its first draw."""
    groups = groups_of(base.posterior)
    for dataset in groups.values():
        for variable in dataset.data_vars.values():
            variable.values[-1] = variable.values[-1, :1]
    return of_groups(groups, base)


def draws_repeated(base: Base) -> Judged:
    """Each draw stands forty times, as where nearly all proposals are refused: 100 different ones are left."""
    chosen = np.repeat(np.arange(25), 40)
    groups = {
        name: dataset.isel(draw=chosen).assign_coords(draw=np.arange(1000))
        for name, dataset in groups_of(base.posterior).items()
    }
    return of_groups(groups, base)


# Planted in the arguments


def twenty_draws(base: Base) -> Judged:
    return of_posterior(base.again(num_samples=20), base.long)


def two_transitions_of_warmup(base: Base) -> Judged:
    return of_posterior(base.again(num_warmup=2, num_samples=1000), base.long)


def steps_too_small(base: Base) -> Judged:
    """A step size for an acceptance of 0.999, and at most three of them: a random walk."""
    plan = Plan(200, 0.999, Nuts(max_tree_depth=2))
    with mock.patch("bayes_gmm.posterior.sampling_run._plan", return_value=plan):
        return of_posterior(base.again(num_samples=1000), base.long)


def six_components(base: Base) -> Judged:
    """Wrong by construction: the data have two or three, so that some have no meaning."""
    return judged(drawn(base.x, 6, num_samples=1000).verdict, right=False)


def half_normal_scales_on_rounded_data(base: Base) -> Judged:
    """Wrong whatever the draws say: there is no posterior."""
    prior = bg.Prior(scales=dist.HalfNormal(2.0))
    return judged(drawn(rounded(base.x), base.n_components, prior=prior, num_samples=1000).verdict, right=False)


def rounded(x: np.ndarray) -> np.ndarray:
    """To half an sd of a component."""
    return np.round(2 * x) / 2


PLANTED: dict[str, Callable[[Base], Judged]] = {
    "one chain of four frozen": one_chain_frozen,
    "each draw repeated 40 times": draws_repeated,
    "20 draws a chain": twenty_draws,
    "2 transitions of warm-up": two_transitions_of_warmup,
    "steps far too small": steps_too_small,
    "6 components where there are 2 or 3": six_components,
    "half-normal scales on rounded data": half_normal_scales_on_rounded_data,
}

# Sound problems


class Sound(NamedTuple):
    """Components with unit sds, neighbours `apart`, and a hundred points for each."""

    n_components: int
    n_features: int
    apart: float

    def data(self, seed: int) -> np.ndarray:
        """Rows (N, D)."""
        K, D = self.n_components, self.n_features
        means = self.apart * np.arange(K)[:, None] * np.eye(D)[0]
        mixture = bg.Mixture.from_moments(np.full(K, 1 / K), means, np.tile(np.eye(D), (K, 1, 1)))
        return mixture.sample(100 * K, seed=seed)[0]


SOUND = [Sound(2, 1, 5.0), Sound(3, 2, 5.0)]
"""Where nothing else is wrong; components that overlap are in `overlapping`."""
FOUR_CHAINS, ONE_CHAIN = "5 sd apart", "5 sd apart, one chain only"


def base_of(sound: Sound, seed: int) -> Base:
    x, K = sound.data(seed), sound.n_components
    mle = bg.fit_em(x, K)
    long = drawn(x, K, start=mle, num_samples=LONG, seed=1).tree
    return Base(x, K, mle, drawn(x, K, start=mle), np.quantile(quantities(long), QUANTILES, axis=1).T)


@cache
def sound_and_planted(n_data_sets: int) -> dict[str, list[Judged]]:
    """All verdicts by name, of so many data sets of each problem."""
    found: dict[str, list[Judged]] = {}
    for sound in SOUND:
        for seed in range(n_data_sets):
            base = base_of(sound, seed)
            found.setdefault(FOUR_CHAINS, []).append(of_posterior(base.posterior, base.long))
            found.setdefault(ONE_CHAIN, []).append(of_posterior(base.again(num_chains=1), base.long))
            for failure, plant in PLANTED.items():
                found.setdefault(failure, []).append(plant(base))
    return found


# Two explanations


def two_ways(seed: int) -> np.ndarray:
    """Four clusters at the corners of a square, and their mirror image in the diagonal.

    Two Gaussians can halve them in two ways, which the mirror exchanges, so that each has half of the mass.
    """
    rng = np.random.default_rng(seed)
    half = 3.0 * rng.choice([-1.0, 1.0], size=(100, 2)) + rng.normal(size=(100, 2))
    return np.concatenate([half, half[:, ::-1]])


BY_DEFAULT, BY_ONE_CHAIN, FROM_ONE = "by default", "one chain only", "EM's only start in one of them"
THREE_AND_ONE = "two modes of equal mass, one chain of four in the other"


@cache
def with_two_modes(n_data_sets: int) -> dict[str, list[Judged]]:
    """Verdicts where the posterior has two modes of equal mass; right are masses within three errors of one half."""
    found: dict[str, list[Judged]] = {}
    for seed in range(n_data_sets):
        x = two_ways(seed)
        halves = [drawn(x, 2, start=bg.fit_em(x, 2, start=(x[:, d] > 0).astype(int))) for d in range(2)]
        runs = {BY_DEFAULT: drawn(x, 2), BY_ONE_CHAIN: drawn(x, 2, num_chains=1), FROM_ONE: halves[0]}
        for name, posterior in runs.items():
            found.setdefault(name, []).append(judged(posterior.verdict, has_two_halves(posterior)))
        alone = [in_one_mode(x, d) for d in range(2)]
        found.setdefault(THREE_AND_ONE, []).append(judged(three_and_one(*alone), right=False))
    return found


def has_two_halves(posterior: bg.Posterior) -> bool:
    """Whether there are two explanations, each with half of the mass up to three errors."""
    masses = [(one.mode_share, one.mass_error) for one in posterior.explanations]
    return len(masses) == 2 and all(abs(mass - 0.5) <= 3 * error for mass, error in masses)


def in_one_mode(x: np.ndarray, feature: int) -> bg.Posterior:
    """Draws by NUTS from the mode that halves the data in one feature."""
    start = bg.fit_em(x, 2, start=(x[:, feature] > 0).astype(int))
    return drawn(x, 2, start=start, num_samples=1000)


def three_and_one(some: bg.Posterior, other: bg.Posterior) -> Verdict:
    """Verdict on three chains of the first and one of the other, with nothing known of modes."""
    parts = zip(groups_of(some).items(), groups_of(other).values(), strict=True)
    groups = {
        name: xr.concat([mine.isel(chain=slice(3)), its.isel(chain=slice(3, 4))], "chain")
        for (name, mine), its in parts
    }
    tree = xr.DataTree.from_dict(groups)
    return judge(tree, some.relabelling, explanations=explain(tree, np.zeros(4, int), np.ones(1)))


def statuses(found: list[Judged]) -> dict[str, int]:
    """How often each status was given."""
    counts = Counter(one.status for one in found)
    return {status: counts[status] for status in ("GOOD", "DOUBTFUL", "BAD")}


def mechanisms(found: list[Judged]) -> dict[str, int]:
    """How often each reason was among those given."""
    return dict(Counter(name for one in found for name in sorted(one.mechanisms | one.noted)).most_common())
