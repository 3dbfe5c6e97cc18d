"""Weights that make the average of several predictive densities predict best: stacking."""

import numpy as np
from scipy.optimize import LinearConstraint, minimize


def stacking_weights(pointwise: np.ndarray) -> np.ndarray:
    r"""Weights (M,) of models with log predictive densities (M, N) of points that each has not seen.

    .. math:: \max_w \frac1N \sum_n \log \sum_m w_m \, p_m(x_n \mid x_{-n}), \quad w_m \ge 0, \; \sum_m w_m = 1

    References
    ----------
    Yao, Vehtari, Simpson and Gelman (2018), doi 10.1214/17-BA1091.
    """
    n_models = len(pointwise)
    densities = np.exp(pointwise - pointwise.max(0))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(weights @ densities, np.finfo(float).tiny)
        return -float(np.log(mixed).mean()), -(densities / mixed).mean(1)

    found = minimize(
        loss,
        np.full(n_models, 1 / n_models),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n_models,
        constraints=LinearConstraint(np.ones(n_models), 1.0, 1.0),
        options={"ftol": 1e-10, "maxiter": 1000},
    )
    weights = np.clip(found.x, 0.0, 1.0)
    return np.asarray(weights / weights.sum())
