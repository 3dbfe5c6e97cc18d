"""The posterior: draws of mixtures under one labelling, the questions that they answer, and their verdict."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from bayes_gmm.bayes.modes import Modes
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.prior import Prior
from bayes_gmm.bayes.prior_densities import log_prior_densities
from bayes_gmm.clustering import co_clustering
from bayes_gmm.clustering.assignment_moments import AssignmentMoments, assignment_moments
from bayes_gmm.core.export import counted
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.validation import open_probability, positive_integer, seed_integer
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.result_file import write_result
from bayes_gmm.io.rows import rows_of
from bayes_gmm.io.table import Table
from bayes_gmm.likelihood import pointwise
from bayes_gmm.likelihood.pointwise import thinned
from bayes_gmm.likelihood.true_rows import TrueRows, true_rows
from bayes_gmm.mixture.degrees_of_freedom import COMMON
from bayes_gmm.mixture.imputation import CompletedRows, completed_rows, draw_missing
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import most_probable
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.arviz_tree import log_prior_dataset, prior_groups
from bayes_gmm.posterior.explanations import Explanation
from bayes_gmm.posterior.relabelling import Relabelling
from bayes_gmm.posterior.verdict import Verdict

_DRAWS_OF_CELLS = 200
"""Draws over which missing cells are averaged: their Monte Carlo error is then a fourteenth of the sd."""


class DensityBand(NamedTuple):
    """Posterior mean of the density at each point, and the ends of its central interval."""

    mean: Float[np.ndarray, " N"]
    lower: Float[np.ndarray, " N"]
    upper: Float[np.ndarray, " N"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """Draws from the posterior of a Gaussian mixture, relabelled and judged.

    Attributes
    ----------
    draws
        `Mixture` with axes (chain, draw), in data units, under the labels of `mle`.
    relabelling
        The permutations (chain, draw, K) that were applied, and how certain each is.
    tree
        xarray DataTree in ArviZ's schema: posterior, invariants, sample_stats, log_likelihood, posterior_predictive,
        observed_data.
    verdict
        Whether the draws can be trusted, with the reasons against them.
    explanations
        Groups of chains that agree: more than one where chains found different explanations of the data.
    modes
        The modes of the posterior that were found before sampling, with their shares of the mass.
    mle
        The EM fit whose labels the draws carry.
    problem
        The data, the structure and the prior, every part filled in.
    interrupted
        Whether sampling was stopped before all draws were made.
    """

    draws: Mixture
    relabelling: Relabelling
    tree: xr.DataTree = field(repr=False)
    verdict: Verdict
    explanations: tuple[Explanation, ...]
    modes: Modes = field(repr=False)
    mle: EMFit
    problem: PosteriorProblem = field(repr=False)
    interrupted: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "draws", self.draws.with_columns(self.table.columns))

    @property
    def table(self) -> Table:
        """The data."""
        return self.problem.table

    @property
    def prior(self) -> Prior:
        """The prior, every part filled in."""
        return self.problem.prior

    @cached_property
    def log_prior(self) -> xr.Dataset:
        """Log density of each part of the prior that is not held at each draw, as a dataset (chain, draw).

        The parts are weights, means, scales and correlations, each relative to a measure without information
        (`prior_densities`), so that power-scaling takes away what the prior says. `with_prior` adds the group to the
        tree, for ArviZ's `psense`.
        """
        return log_prior_dataset(log_prior_densities(self.draws, self.problem.sites))

    def responsibilities(self, x: Any = None) -> Float[np.ndarray, "N K"]:
        """Posterior mean of the soft assignments p(z_n = k | x_n), (N, K), of the data or of other points."""
        return self._assignment_moments(x).mean

    def responsibilities_sd(self, x: Any = None) -> Float[np.ndarray, "N K"]:
        """Posterior standard deviation of the soft assignments, (N, K)."""
        return self._assignment_moments(x).sd

    def noise_probability(self, x: Any = None) -> Float[np.ndarray, " N"]:
        """Posterior probability of points to belong to the noise, (N,), of the data or other points; 0 without any."""
        return self._assignment_moments(x).noise_mean

    def noise_probability_sd(self, x: Any = None) -> Float[np.ndarray, " N"]:
        """Posterior standard deviation of the probability under each draw to belong to the noise, (N,)."""
        return self._assignment_moments(x).noise_sd

    def co_clustering(self, x: Any = None) -> Float[np.ndarray, "N N"]:
        """Probability that two points belong to the same component, (N, N), for at most 5000 points."""
        return co_clustering.co_clustering(self.draws, self._points(x), self.problem.scaling, self._errors(x))

    def predict(self, x: Any = None) -> Int[np.ndarray, " N"]:
        """Component with the largest posterior mean responsibility, (N,); -1 where that of noise is larger."""
        return most_probable(self.responsibilities(x))

    def log_prob(self, x: Any) -> Float[np.ndarray, " N"]:
        r"""Log posterior predictive density \(\log \frac1S \sum_s p(x_n \mid \theta_s)\) of points, (N,)."""
        return pointwise.log_predictive_density(self.draws, self._points(x), self.problem.scaling)

    def completed(self) -> CompletedRows:
        """Posterior mean of each cell of the table (N, D) given the seen ones, and its posterior predictive sd.

        Both are over at most 200 draws, evenly spaced; the sd is zero where the cell was seen.

        Raises
        ------
        ArgumentError
            The values have known errors: `denoised` gives the true ones.
        """
        self._require_exact_values()
        some = thinned(self.draws, _DRAWS_OF_CELLS)
        given = [completed_rows(one, self.table.values) for one in _each(some)]
        means, sds = np.stack([one.mean for one in given]), np.stack([one.sd for one in given])
        return CompletedRows(means.mean(0), np.sqrt((sds**2).mean(0) + means.var(0)))

    def denoised(self) -> TrueRows:
        """Posterior mean of each true value (N, D) given what was observed of its row and its errors, and its sd.

        Both are over at most 200 draws, evenly spaced; cells that were not seen are among them.
        """
        given = [true_rows(one, self.table) for one in _each(thinned(self.draws, _DRAWS_OF_CELLS))]
        means, sds = np.stack([one.mean for one in given]), np.stack([one.sd for one in given])
        return TrueRows(means.mean(0), np.sqrt((sds**2).mean(0) + means.var(0)))

    def _require_exact_values(self) -> None:
        if self.table.has_errors:
            raise ArgumentError(
                "The values have known errors.", "exact values", "denoised() gives the true ones, and missing cells."
            )

    def impute(self, num: int = 20, *, seed: int = 0) -> Float[np.ndarray, "num N D"]:
        """Tables (num, N, D) in which the cells that were not seen are drawn: multiple imputation.

        Each is drawn under another draw of the posterior, so that what differs between the tables is all that is not
        known of the cells. Analyse each table by itself, and combine the answers by Rubin's rules.

        Raises
        ------
        ArgumentError
            There are not so many draws, or the values have known errors.

        References
        ----------
        Rubin (1987), doi 10.1002/9780470316696.

        Examples
        --------
        >>> import bayes_gmm as bg
        >>> x = bg.datasets.load("faithful").values.copy()
        >>> x[::5, 1] = float("nan")
        >>> bg.fit_nuts(x, n_components=2, progress=False).impute(num=5).shape
        (5, 272, 2)
        """
        self._require_exact_values()
        most = int(np.prod(self.draws.log_weights.shape[:-1]))
        if positive_integer("num", num) > most:
            raise ArgumentError(f"num is {num}.", f"at most {most}, the number of draws", "Leave num out for 20.")
        some = _each(thinned(self.draws, num))
        seeds = np.random.SeedSequence(seed_integer(seed)).generate_state(num)
        return np.stack(
            [draw_missing(one, self.table.values, seed=int(own)) for one, own in zip(some, seeds, strict=True)]
        )

    def density(self, x: Any, *, probability: float = 0.94) -> DensityBand:
        """Posterior mean of the density at points (N, D), and both ends of its central interval, (N,) each.

        Raises
        ------
        ArgumentError
            When the points do not have the features of the data, or `probability` does not lie between 0 and 1.
        """
        mass = open_probability(probability, 0.94)
        return DensityBand(*pointwise.density_band(self.draws, self._points(x), self.problem.scaling, mass))

    def log_likelihoods(self, x: Any = None) -> Float[np.ndarray, "chain draw N"]:
        """Log density of each draw at each point, its label summed out, (chain, draw, N), all of it in memory."""
        return pointwise.log_densities(self.draws, self._points(x), self.problem.scaling, self._errors(x))

    def sample(self, n_points: int, *, seed: int) -> Float[np.ndarray, "chain draw n D"]:
        """Posterior predictive data: for each draw `n_points` new points, (chain, draw, n_points, D)."""
        return self.draws.sample(n_points, seed=seed)[0]

    def map(self, function: Callable[[Mixture], Any]) -> Any:
        """Posterior of a function of one mixture, written with `jax.numpy`: its values with axes (chain, draw).

        Examples
        --------
        >>> import bayes_gmm as bg
        >>> posterior = bg.fit_nuts(bg.datasets.load("faithful"), n_components=2, progress=False)
        >>> gap = posterior.map(lambda mixture: mixture.means[1, 1] - mixture.means[0, 1])
        >>> gap.shape
        (4, 1000)
        """
        return _map_draws(function, self.draws)

    @property
    def draws_as_sampled(self) -> Mixture:
        """The draws under the labels of the sampler, with the relabelling undone."""
        return self.draws.permute(np.argsort(self.relabelling.permutations, -1))

    def with_prior(self, num_draws: int = 1000, *, seed: int = 0) -> xr.DataTree:
        """The tree with groups prior, prior_predictive and log_prior added, for ArviZ's comparisons with the prior."""
        draws = self.problem.sample_prior(positive_integer("num_draws", num_draws), seed=seed_integer(seed))
        groups = prior_groups(draws, self.table, seed=seed) | {"log_prior": self.log_prior}
        return xr.DataTree.from_dict({**{name: group.to_dataset() for name, group in self.tree.items()}, **groups})

    def save(self, path: str | Path) -> None:
        """Write everything, the data included, to a netCDF file that `load` gives back and plain ArviZ or xarray reads.

        Raises
        ------
        ArgumentError
            When the prior has a distribution that is not NumPyro's own.
        OutputError
            When the file cannot be written; an old one stays as it was.

        Examples
        --------
        >>> import tempfile, arviz as az, bayes_gmm as bg
        >>> posterior = bg.fit_nuts(bg.datasets.load("faithful"), n_components=2, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     posterior.save(f"{folder}/posterior.nc")
        ...     loaded, tree = bg.load(f"{folder}/posterior.nc"), az.from_netcdf(f"{folder}/posterior.nc")
        >>> loaded.verdict == posterior.verdict, tree["posterior"].sizes["draw"]
        (True, 1000)
        """
        write_result(path, self)

    def __repr__(self) -> str:
        said = (*self.table.remarks, *self._tails(), *self._noise(), self.verdict.summary)
        lines = [self._head(), *(f"  {sentence}" for sentence in said)]
        return "\n".join([*lines, *(f"  - {sentence}" for sentence in self.verdict.sentences)])

    def _repr_html_(self) -> str:
        return f"<p>{self._head()}{self.verdict._repr_html_()}"

    def _tails(self) -> tuple[str, ...]:
        """A sentence on the degrees of freedom of t distributions."""
        if self.draws.degrees_of_freedom is None:
            return ()
        wanted = self.problem.degrees_of_freedom
        common = isinstance(wanted, str) and wanted == COMMON
        degrees = self.draws.degrees_of_freedom[..., :1] if common else self.draws.degrees_of_freedom
        numbers = zip(degrees.mean((0, 1)), degrees.std((0, 1)), strict=True)
        said = ", ".join(f"{mean:.3g} +- {sd:.2g}" for mean, sd in numbers)
        return (f"Components are t distributions with {said} degrees of freedom{' in common' * common}.",)

    def _noise(self) -> tuple[str, ...]:
        """A sentence on the weight of the noise, and on how many rows belong to it."""
        if self.draws.noise is None:
            return ()
        weights, rows = self.draws.noise_weight, int((self.predict() < 0).sum())
        weight = f"{weights.mean():.3g} +- {weights.std():.2g}"
        return (f"Noise has a weight of {weight}; {rows} rows belong most probably to it.",)

    def _head(self) -> str:
        chains, draws = self.draws.log_weights.shape[:2]
        head = f"Posterior: {counted(self.draws.n_components, 'component')}, {chains} chains of {draws} draws"
        return head + (" (interrupted)" if self.interrupted else "")

    def _assignment_moments(self, x: Any) -> AssignmentMoments:
        if x is None:
            return self._own_assignment_moments
        return assignment_moments(self.draws, self._points(x), self.problem.scaling)

    @cached_property
    def _own_assignment_moments(self) -> AssignmentMoments:
        table = self.table
        return assignment_moments(self.draws, table.values, self.problem.scaling, table.error_covariances)

    def _errors(self, x: Any) -> Float[np.ndarray, "N D D"] | None:
        """Covariances of the errors of the data; other points have none."""
        return self.table.error_covariances if x is None else None

    def _points(self, x: Any) -> Float[np.ndarray, "N D"]:
        table = self.table
        return table.values if x is None else rows_of("points", x, table.n_features, columns=table.columns, gaps=True)


def _each(draws: Mixture) -> list[Mixture]:
    return [jax.tree.map(lambda leaf, s=s: leaf[s], draws) for s in range(len(draws.log_weights))]


@in_float64
def _map_draws(function: Callable[[Mixture], Any], draws: Mixture) -> Any:
    return jax.vmap(jax.vmap(function))(draws)
