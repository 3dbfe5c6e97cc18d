"""What makes components of a maximum suspicious, and the words for it."""

import numpy as np
from jaxtyping import Bool

from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.objective.degeneracy import rows_in_words
from bayes_gmm.objective.problem import Problem

_OUTLYING, _FEW = 5.0, 0.1
"""How many times as wide as all others a component is that holds outliers, and the largest weight that it has."""

_POINTS_PER_PARAMETER = 2
"""Points of a component for each of its own parameters below which it is doubted."""


def own_parameters(problem: Problem) -> int:
    """Number of parameters that each component of a problem adds, but for its weight."""
    K, D = problem.n_components, problem.table.n_features
    return D + problem.structure.n_parameters(K + 1, D) - problem.structure.n_parameters(K, D)


def thin_components(mixtures: Mixture, problem: Problem) -> Bool[np.ndarray, "*batch K"]:
    """Which components of mixtures, (..., K), have fewer than two points for each of their own parameters."""
    counts = np.exp(mixtures.log_weights) * problem.sample_weight.sum()
    return np.asarray(counts < _POINTS_PER_PARAMETER * own_parameters(problem))


def thin_in_words(components: np.ndarray, counts: np.ndarray, rows: list[np.ndarray], n_parameters: int) -> str:
    """A sentence on components of too few points, their counts and most probable rows."""
    held = ", ".join(
        f"component {k} holds {count:.1f} points" + (f" ({rows_in_words(own)})" if own.size else "")
        for k, count, own in zip(components, counts, rows, strict=True)
    )
    return (
        f"{held.capitalize()} for {n_parameters} parameters of its own: a maximum that is often spurious. Use fewer "
        "components, a ConjugatePrior, or the posterior."
    )


def wide_in_words(components: np.ndarray, shares: np.ndarray) -> str:
    """A sentence on components whose standard errors are large shares of a scale."""
    of = ", ".join(f"{shares[k]:.0%} of an sd in component {k}" for k in components)
    return (
        f"Standard errors are {of}: too few points decide for a normal approximation. Trust the posterior (fit_nuts)."
    )


def flat_in_words(components: np.ndarray, shares: np.ndarray) -> str:
    """A sentence on components whose spread is a small share of the typical error."""
    which = ", ".join(f"component {k} ({shares[k]:.1%} of the typical error there)" for k in components)
    return (
        f"Next to no spread of its own, in some direction: {which}. The likelihood is highest, or almost, at a "
        "variance of zero, which EM approaches slowly, and where no standard errors are defined."
    )


def outlying_in_words(mixture: Mixture, problem: Problem) -> tuple[str, ...]:
    """A sentence on each Gaussian that holds few points and is far wider than all others in every direction."""
    if problem.noise is not None or problem.degrees_of_freedom is not None or not np.isfinite(mixture.scale_tril).all():
        return ()
    said = []
    for k in np.flatnonzero(mixture.weights < _FEW):
        others = np.delete(mixture.scale_tril, k, 0)
        ratios = np.linalg.svd(np.linalg.solve(others, mixture.scale_tril[k]), compute_uv=False)[..., -1]
        if len(ratios) and (least := ratios.min()) > _OUTLYING:
            share, times = f"{100 * mixture.weights[k]:.2g} %", f"{least:.2g} times"
            said.append(
                f"Component {k} holds {share} of the points and is in every direction at least {times} as wide as all "
                'others: outliers rather than a cluster. noise=True or components="t" gives them no component.'
            )
    return tuple(said)
