"""The question that a posterior answers, in data units, and the density to sample for it."""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from bayes_gmm.bayes.compiled_sites import OrderedSites, as_arrays
from bayes_gmm.bayes.prior import Prior, sample_sites
from bayes_gmm.bayes.sites import Sites, degrees_sites, exchangeable, family, free, noise_sites
from bayes_gmm.bayes.target import Target
from bayes_gmm.bayes.tied_values import tie_warnings
from bayes_gmm.core.error_bars import error_sds
from bayes_gmm.core.precision import require_float64, require_own_jax
from bayes_gmm.errors import ArgumentError, FitWarning
from bayes_gmm.io.rows import component_count, point_weights
from bayes_gmm.io.table import Table, as_table
from bayes_gmm.io.table_checks import check_full_rank
from bayes_gmm.likelihood import complete_rows, heavy_tails, measurement_errors, missing_cells
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.likelihood.true_rows import log_joint_with_errors
from bayes_gmm.mixture.covariance_structures import Structure, find_structure
from bayes_gmm.mixture.degrees_of_freedom import are_heavy_tails, refuse_errors_beside_tails, wanted_degrees
from bayes_gmm.mixture.gaps import check_seen_together
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise, noise_box
from bayes_gmm.mixture.scaling import Scaling


@dataclass(frozen=True, kw_only=True, eq=False)
class PosteriorProblem:
    """Data and prior.

    Attributes
    ----------
    table
        The data.
    n_components
        K.
    covariance_type
        Covariance structure, as the user named it.
    prior
        The prior, every part filled in.
    default_scales
        Whether the prior of the scales is the package's own.
    sample_weight : (N,)
        Weight of each row, or None where all count once.
    noise
        The box of the noise, in data units, or None.
    degrees_of_freedom
        Those of t distributions, "common" or "per component" where they have a prior, or held values (K,); None for
        Gaussians.
    """

    table: Table
    n_components: int
    covariance_type: str
    prior: Prior
    default_scales: bool
    sample_weight: Float[np.ndarray, " N"] | None = None
    noise: Noise | None = None
    degrees_of_freedom: str | Float[np.ndarray, " K"] | None = None

    @classmethod
    def of(
        cls,
        x: Any,
        n_components: Any,
        *,
        covariance_type: Any,
        prior: Any,
        sample_weight: Any = None,
        missing: Any = "integrate",
        noise: Any = False,
        errors: Any = None,
        components: Any = "gaussian",
        degrees_of_freedom: Any = None,
    ) -> "PosteriorProblem":
        """Check and convert what a user gives; warn of tied values under which the posterior is improper.

        Raises
        ------
        DataError, ArgumentError
            When the table or an argument cannot be used.
        FitError
            When the process has no JAX of its own.
        """
        require_own_jax()
        table = as_table(x, missing=missing, errors=errors)
        _check_rows(table)
        K, prior = component_count(n_components, table), _checked_prior(prior)
        weights = None if sample_weight is None else point_weights(sample_weight, table)
        degrees = wanted_degrees(components, degrees_of_freedom, K)
        refuse_errors_beside_tails(degrees, has_errors=table.has_errors)
        problem = cls(
            table=table,
            n_components=K,
            covariance_type=covariance_type,
            prior=prior,
            default_scales=prior.scales is None and prior.variances is None,
            sample_weight=weights,
            noise=noise_box(noise, table.values, _every_weight(weights, table), table.columns),
            degrees_of_freedom=degrees,
        )
        problem = replace(problem, prior=problem._completed_prior())
        problem._require_a_parameter()
        for sentence in problem.tie_warnings:
            warnings.warn(sentence, FitWarning, stacklevel=5)
        return problem

    def _completed_prior(self) -> Prior:
        """The prior with what it leaves out filled from the table."""
        errors = self.table.errors
        return self.prior.for_data(
            self.table.values,
            self.n_components,
            self.covariance_type,
            sample_weight=self.sample_weight,
            error_sds=None if errors is None else error_sds(errors),
            with_noise=self.noise is not None,
            with_tails=isinstance(self.degrees_of_freedom, str),
        )

    @property
    def structure(self) -> Structure:
        """What the covariances have in common."""
        return find_structure(self.covariance_type, self.table.n_features)

    @property
    def mixture_shape(self) -> Mixture:
        """A mixture of shapes and types only, for programs that are compiled before there is one."""
        K, D = self.n_components, self.table.n_features
        shape = partial(jax.ShapeDtypeStruct, dtype=np.float64)
        box = {"log_weight": shape(()), "log_volume": shape(()), "corner": shape((D,)), "edges": shape((D, D))}
        return Mixture(
            log_weights=shape((K,)),
            means=shape((K, D)),
            scale_tril=shape((K, D, D)),
            noise=None if self.noise is None else Noise(**box),
            degrees_of_freedom=None if self.degrees_of_freedom is None else shape((K,)),
        )

    @cached_property
    def sites(self) -> Sites:
        """Distribution or fixed value of each parameter."""
        sites = self.prior.sites(self.n_components, self.table.n_features, self.covariance_type)
        if self.degrees_of_freedom is not None:
            sites |= degrees_sites(self.degrees_of_freedom, self.prior.degrees_of_freedom, self.n_components)
        return sites if self.noise is None else sites | noise_sites(self.noise, self.prior.noise)

    @cached_property
    def scaling(self) -> Scaling:
        """Map to unit coordinates, in which the data have the identity as covariance, or as its diagonal.

        Each column is by itself where a row may lack the others, or covariances are diagonal.
        """
        whitening = Scaling.whitening(self.table.values, self.row_weights)
        return whitening.keeping("columns") if self.table.has_gaps or self.structure.is_diagonal else whitening

    @property
    def row_weights(self) -> Float[np.ndarray, " N"]:
        """Weight of each row, one where none were given."""
        return _every_weight(self.sample_weight, self.table)

    @cached_property
    def tie_warnings(self) -> list[str]:
        """Sentences on what tied data do to the posterior under this prior; none with errors or the default one."""
        return (
            []
            if self.default_scales or self._every_row_has_errors
            else tie_warnings(self.sites, self.table, self.row_weights)
        )

    @property
    def exchangeable(self) -> bool:
        """Whether the prior treats all components alike, so that labels mean nothing."""
        return exchangeable(self.sites)

    @property
    def fingerprint(self) -> dict[str, str | int]:
        """Names and values that tell this problem from others, for a checkpoint."""
        return {
            "data": _digest(self.table.values),
            **({} if self.table.errors is None else {"errors": _digest(self.table.errors)}),
            # Hyperparameters in the order of their names: NumPyro's own differs from process to process.
            "prior": " ".join([*map(family, self.sites.values()), _digest(*jax.tree.leaves(OrderedSites(self.sites)))]),
            "n_components": self.n_components,
            "covariance_type": self.covariance_type,
            **({} if self.sample_weight is None else {"sample_weight": _digest(self.sample_weight)}),
        }

    def sample_prior(self, num_draws: int, *, seed: int) -> Mixture:
        """Mixtures (num_draws,) from the prior, in data units."""
        return sample_sites(self.sites, num_draws, seed)

    def target(self) -> Target:
        """The density to sample, its arrays on JAX's device; callable in a scope of float64 only."""
        require_float64()
        return jax.device_put(Target(as_arrays(self.sites), self._likelihood(), self.scaling))

    @property
    def _every_row_has_errors(self) -> bool:
        """Whether each row has errors in every direction, under which no prior makes the posterior improper."""
        errors = self.table.error_covariances
        return (
            errors is not None and measurement_errors.narrowest(self.scaling, errors, ~np.isnan(self.table.values)) > 0
        )

    @property
    def _needs_no_products(self) -> bool:
        """Whether the likelihood needs no products of different features: no Gaussian has correlations."""
        plain = self.table.is_exact and self.noise is None and not are_heavy_tails(self.degrees_of_freedom)
        return plain and self.structure.is_diagonal

    def _likelihood(self) -> Likelihood:
        rows = self.table.values, self.row_weights, self.scaling
        if (errors := self.table.error_covariances) is not None:
            return measurement_errors.prepare(*rows, errors, noise=self.noise)
        has_tails = are_heavy_tails(self.degrees_of_freedom)
        if self.table.has_gaps:
            return missing_cells.prepare(*rows, noise=self.noise, with_heavy_tails=has_tails)
        if has_tails:
            return heavy_tails.prepare(*rows, with_noise=self.noise is not None)
        return complete_rows.prepare(*rows, diagonal=self._needs_no_products)

    def log_densities(self, mixture: Mixture) -> Float[np.ndarray, " N"]:
        """Log density of what was observed of each row under one mixture, in data units."""
        values, errors = self.table.values, self.table.error_covariances
        if errors is None:
            return np.asarray(mixture.log_prob(values))
        return np.logaddexp.reduce(log_joint_with_errors(mixture, values, errors), 1)

    def _require_a_parameter(self) -> None:
        if not free(self.sites):
            raise ArgumentError(
                "The prior holds every parameter, so that there is nothing to sample.",
                "at least one parameter with a distribution",
                "Evaluate the density of Mixture.from_moments(...) instead.",
            )


def _check_rows(table: Table) -> None:
    """Refuse rows that do not tell the coordinates in which a posterior is sampled, whatever its structure."""
    what = "the coordinates in which a posterior is sampled, of any structure"
    check_full_rank(table.values, table.columns, what)
    check_seen_together(table.values, np.ones(table.n_points), table.columns)


def _checked_prior(prior: Any) -> Prior:
    if not (prior is None or isinstance(prior, Prior)):
        raise ArgumentError(
            f"prior is {prior!r}.", "a Prior", "Put NumPyro distributions into Prior(weights=, means=, scales=)."
        )
    return prior or Prior()


def _every_weight(sample_weight: Float[np.ndarray, " N"] | None, table: Table) -> Float[np.ndarray, " N"]:
    return np.ones(table.n_points) if sample_weight is None else sample_weight


def _digest(*arrays: Any) -> str:
    """Hash of arrays, their shapes and their types."""
    digest = sha256()
    for array in map(np.asarray, arrays):
        digest.update(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
