"""Confidence intervals of a weight from its profile likelihood: they follow its skewness and stay within 0 and 1."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import chi2

from bayes_gmm.core.validation import instance_of, open_probability
from bayes_gmm.errors import ArgumentError, FitError
from bayes_gmm.mle.best_fit import SearchOptions, fit_problem
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.objective.fixed_parameters import Fixed, fixed_parameters

_FARTHEST = 40.0
"""Largest distance in log odds from the estimate that is searched: farther on weights differ from 0 or 1 by 1e-17."""


def profile_interval(fit: EMFit, component: int, *, level: float = 0.95) -> tuple[float, float]:
    r"""Confidence interval of one component's weight from its profile likelihood.

    .. math:: \{w : 2\,[\ell(\hat\theta) - \max_{\theta:\, \pi_k = w} \ell(\theta)] \le \chi^2_{1,\,\text{level}}\}

    Each value of the profile is the log-likelihood of a fit that starts from the given one with the weight held.

    Parameters
    ----------
    fit
        A converged maximum-likelihood fit.
    component
        Which weight, counted from 0 in the order of `fit.mixture`.
    level
        Probability that the interval covers the weight.

    Raises
    ------
    ArgumentError
        When there is no such component, its weight is held, or the level is no probability.
    FitError
        When the likelihood does not fall far enough before the weight is 0 or 1, or the fit is no maximum.

    References
    ----------
    Venzon and Moolgavkar (1988), doi 10.2307/2347496.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> mle = bg.fit_em(bg.datasets.load("faithful"), n_components=2)
    >>> lower, upper = bg.profile_interval(mle, component=0)
    >>> round(lower, 3), round(upper, 3)
    (0.3, 0.414)
    """
    instance_of("fit", fit, EMFit, "Give what fit_em returned.")
    K, fixed = fit.mixture.n_components, fit.problem.fixed
    is_integer = isinstance(component, int | np.integer) and not isinstance(component, bool)
    if not (is_integer and 0 <= component < K) or (fixed and fixed.weights[component]):
        raise ArgumentError(
            f"component is {component!r}.",
            f"an integer from 0 to {K - 1} whose weight is not held",
            "Components are counted from 0 in the order of fit.mixture.",
        )
    level = open_probability(level, 0.95, "level")
    if fit.problem.assignment == "hard" or K == 1:
        raise FitError(
            "The weight is no free parameter of a likelihood.",
            "a soft fit of two components or more",
            "Fit without assignment='hard'.",
        )
    excess = partial(_excess, fit, int(component), float(chi2.ppf(level, 1)) / 2)
    weight = fit.mixture.weights[component]
    center, step = float(logit(weight)), float(fit.errors()["weights"][component] / (weight * (1 - weight)))
    lower, upper = (float(expit(_crossing(excess, center, side * step))) for side in (-2, 2))
    return lower, upper


def _excess(fit: EMFit, component: int, threshold: float, log_odds: float) -> float:
    """Difference of the maximum and the profile in nats, minus the threshold: zero at the ends of the interval."""
    fixed = _with_weight_held(fit, component, float(expit(log_odds)))
    profile = fit_problem(replace(fit.problem, fixed=fixed), SearchOptions(start=fit.mixture)).check()
    return float(fit.path[-1] - profile.path[-1]) - threshold


def _with_weight_held(fit: EMFit, component: int, weight: float) -> Fixed:
    """The fixed parameters of the fit, and one weight more; the other free weights share the rest."""
    problem = fit.problem
    fixed = problem.fixed or fixed_parameters({}, problem.n_components, problem.table.n_features)
    assert fixed is not None
    chosen = np.arange(problem.n_components) == component
    log_weights = np.where(chosen, np.log(weight), fixed.values.log_weights)
    values = replace(fixed.values, log_weights=log_weights)
    return replace(fixed, values=values, weights=fixed.weights | chosen)


def _crossing(excess: Callable[[float], float], center: float, step: float) -> float:
    """Log odds at which the excess is zero, in the direction of the step, which doubles until it has passed them."""
    near, far = center, center + step
    while excess(far) < 0:
        near, far = far, far + 2 * (far - near)
        if abs(far - center) > _FARTHEST:
            raise FitError(
                "The likelihood does not fall far enough before the weight is 0 or 1.",
                "a weight that the data tell from 0 and 1",
                "Use fewer components, a lower level, or the posterior.",
            )
    return float(brentq(excess, near, far, xtol=1e-6))
