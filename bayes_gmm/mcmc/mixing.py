r"""How well chains mix, many scalar quantities at a time: rank-normalised R-hat and effective sample sizes.

With autocovariances :math:`\gamma_t` of the halves of M chains of n draws, and the variance of all draws estimated by
:math:`v = \gamma_0 + \mathrm{var}(\text{means of the halves})`, autocorrelations and the effective sample size are

.. math:: \rho_t = 1 - \frac{\frac{n}{n - 1} \gamma_0 - \gamma_t}{v}, \qquad
          \mathrm{ESS} = \frac{M n}{-1 + 2 \sum_{j < J} P_j + \rho_{2J}},

where the sums of pairs :math:`P_j = \rho_{2j} + \rho_{2j + 1}` end before the first that is not positive, and none is
taken to be larger than the one before it (Geyer 1992, doi 10.1214/ss/1177011137).

References
----------
Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021), doi 10.1214/20-BA1221.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

TAILS = (0.05, 0.95)
"""Quantiles of the tail effective sample size."""

_FEWEST_DRAWS = 4
"""Draws of a chain below which nothing is estimated."""


def split_r_hat(values: Float[np.ndarray, "Q chain draw"]) -> Float[np.ndarray, " Q"]:
    """The larger R-hat of ranks, of the draws and of their distances from the median, by the halves of the chains.

    Where there is one chain, its two halves count as chains. NaN where a draw is NaN, where draws do not vary, and of
    fewer than four draws.
    """
    n_quantities, n_chains, n_draws = values.shape
    if n_chains == 1:
        values = values[..., : n_draws // 2 * 2].reshape(n_quantities, 2, -1)
    if values.shape[2] < _FEWEST_DRAWS:
        return np.full(n_quantities, np.nan)
    halves = _halves(values)
    folded = np.abs(halves - np.median(halves, (1, 2), keepdims=True))
    found = np.fmax(_r_hat(_normal_scores(halves)), _r_hat(_normal_scores(folded)))
    return np.where(np.isnan(values).any((1, 2)), np.nan, found)


def bulk_ess(values: Float[np.ndarray, "Q chain draw"]) -> Float[np.ndarray, " Q"]:
    """Effective sample size of ranks."""
    return _ess(_normal_scores(_halves(values)), values)


def mean_ess(values: Float[np.ndarray, "Q chain draw"]) -> Float[np.ndarray, " Q"]:
    """Effective sample size for the mean."""
    return _ess(_halves(values), values)


def tail_ess(values: Float[np.ndarray, "Q chain draw"]) -> Float[np.ndarray, " Q"]:
    """The smaller of the effective sample sizes for two quantiles, in each tail one."""
    quantiles = np.quantile(values, TAILS, axis=(1, 2))
    both = [_ess(_halves((values <= each[:, None, None]).astype(float)), values) for each in quantiles]
    return np.minimum(*both)


@np.errstate(divide="ignore", invalid="ignore")
def smallest_bfmi(energy: Float[np.ndarray, "chain draw"]) -> float:
    """Smallest Bayesian fraction of missing information of the chains; NaN where an energy is constant or not finite.

    It is the mean squared step of the energy by its variance (Betancourt 2016, arXiv 1604.00695).
    """
    if energy.shape[1] < 2:
        return np.nan
    return float(((np.diff(energy) ** 2).mean(1) / energy.var(1, ddof=1)).min())


def _halves(values: Float[np.ndarray, "Q chain draw"]) -> Float[np.ndarray, "Q half step"]:
    """The first and the second half of each chain, without the draw in the middle."""
    size = values.shape[2] // 2
    return np.concatenate([values[..., :size], values[..., values.shape[2] - size :]], 1)


def _normal_scores(values: Float[np.ndarray, "Q chain draw"]) -> Float[np.ndarray, "Q chain draw"]:
    """Normal quantiles of the ranks among the draws of all chains; those of equal draws are averaged (Blom 1958)."""
    flat = values.reshape(len(values), -1)
    size = flat.shape[1]
    order = np.argsort(flat, axis=1)
    ordered, place = np.take_along_axis(flat, order, 1), np.arange(size)
    differs = ordered[:, 1:] != ordered[:, :-1]
    border = np.ones((len(flat), 1), bool)
    first = np.maximum.accumulate(np.where(np.hstack([border, differs]), place, 0), 1)
    last = np.minimum.accumulate(np.where(np.hstack([differs, border]), place, size)[:, ::-1], 1)[:, ::-1]
    ranks = np.empty(flat.shape)
    np.put_along_axis(ranks, order, 1 + (first + last) / 2, 1)
    return ndtri((ranks - 3 / 8) / (size + 1 / 4)).reshape(values.shape)


# Draws that do not vary have no R-hat.
@np.errstate(divide="ignore", invalid="ignore")
def _r_hat(chains: Float[np.ndarray, "Q chain draw"]) -> Float[np.ndarray, " Q"]:
    n_draws = chains.shape[2]
    within, between = chains.var(2, ddof=1).mean(1), chains.mean(2).var(1, ddof=1)
    return np.sqrt(between / within + (n_draws - 1) / n_draws)


@np.errstate(divide="ignore", invalid="ignore")
def _ess(chains: Float[np.ndarray, "Q half step"], values: Float[np.ndarray, "Q chain draw"]) -> Any:
    """Effective sample size of functions of draws, by the halves of the chains; their number where they do not vary."""
    n_quantities, n_chains, n_draws = chains.shape
    if values.shape[2] < _FEWEST_DRAWS:
        return np.full(n_quantities, np.nan)
    rho = _autocorrelations(chains)
    n_pairs = max(1, (n_draws - 1) // 2)
    even, pairs = rho[:, : 2 * n_pairs : 2], rho[:, : 2 * n_pairs].reshape(n_quantities, n_pairs, -1).sum(2)
    ended = ~(pairs > 0)
    ended[:, -1] = True
    end = ended.argmax(1)[:, None]
    sums = np.where(np.arange(n_pairs) < end, np.minimum.accumulate(pairs, 1), 0.0).sum(1)
    last, last_pair = (np.take_along_axis(part, end, 1)[:, 0] for part in (even, pairs))
    time = -1 + 2 * sums + np.where((last > 0) | (last_pair >= 0), last, 0.0)
    total = n_chains * n_draws
    constant = np.ptp(chains, axis=(1, 2)) < np.finfo(float).resolution
    found = total / np.maximum(time, 1 / np.log10(total))
    return np.where(np.isnan(values).any((1, 2)), np.nan, np.where(constant, total, found))


def _autocorrelations(chains: Float[np.ndarray, "Q chain draw"]) -> Float[np.ndarray, "Q draw"]:
    """Autocorrelations at every lag, that at lag zero one."""
    n_chains, n_draws = chains.shape[1:]
    means = chains.mean(2, keepdims=True)
    spectrum = np.fft.rfft(chains - means, 1 << (2 * n_draws - 1).bit_length(), axis=2)
    power = (spectrum.real**2 + spectrum.imag**2).mean(1)
    covariances = np.fft.irfft(power, axis=1)[:, :n_draws] / n_draws
    variance = covariances[:, :1].copy()
    between = means[..., 0].var(1, ddof=1)[:, None] if n_chains > 1 else 0.0
    rho = 1 - (variance * n_draws / (n_draws - 1) - covariances) / (variance + between)
    rho[:, 0] = 1.0
    return rho
