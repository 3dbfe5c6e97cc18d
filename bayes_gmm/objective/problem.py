"""The question that a maximum-likelihood fit answers, in data units, and the objective in unit coordinates."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.precision import require_float64
from bayes_gmm.core.validation import one_of
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.rows import component_count, point_weights
from bayes_gmm.io.table import Table, as_table
from bayes_gmm.io.table_checks import check_full_rank
from bayes_gmm.likelihood import (
    complete_rows,
    heavy_tails,
    linear_form,
    measurement_errors,
    missing_cells,
    short_tables,
)
from bayes_gmm.likelihood.centred_form import log_joint_densities
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.likelihood.moments import features_of_rows, n_statistics
from bayes_gmm.likelihood.true_rows import log_joint_with_errors
from bayes_gmm.mixture.covariance_structures import Structure, find_structure
from bayes_gmm.mixture.degrees_of_freedom import (
    COMMON,
    FIRST,
    are_heavy_tails,
    refuse_errors_beside_tails,
    wanted_degrees,
)
from bayes_gmm.mixture.gaps import check_seen_together
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise, noise_box
from bayes_gmm.mixture.scaling import Scaling
from bayes_gmm.objective.conjugate_prior import ConjugatePrior
from bayes_gmm.objective.degeneracy import NO_SPREAD, narrowest_allowed
from bayes_gmm.objective.fixed_parameters import Fixed, fixed_parameters
from bayes_gmm.objective.known_labels import known_labels
from bayes_gmm.objective.objective import Objective

PROBLEM_OPTIONS = {
    *("sample_weight", "labels", "fixed", "prior", "assignment", "noise"),
    *("components", "degrees_of_freedom"),
}
"""Arguments of `fit_em` that belong to the problem, beside the number of components and the structure."""

_SHORT, NARROW = 2**15, 8
"""Work (`Problem.work`) and features of a short table."""
ASSIGNMENTS = {"soft": linear_form.soft, "hard": linear_form.hard}


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Data and everything that a fit to them must respect.

    Attributes
    ----------
    table
        The data.
    sample_weight : (N,)
        Weight of each row.
    labels : (N,)
        Known component of each row, -1 where it is not known.
    n_components
        K.
    structure
        What the covariances have in common.
    fixed
        Parameters that keep their value, or None.
    prior
        Conjugate prior, or None.
    assignment
        "soft" or "hard".
    noise
        The box of the noise, in data units, or None.
    degrees_of_freedom
        Those of t distributions, "common" or "per component" where they are estimated, or held values (K,); None for
        Gaussians.
    """

    table: Table
    sample_weight: Float[np.ndarray, " N"]
    labels: Int[np.ndarray, " N"]
    n_components: int
    structure: Structure
    fixed: Fixed | None
    prior: ConjugatePrior | None
    assignment: str
    noise: Noise | None = None
    degrees_of_freedom: str | Float[np.ndarray, " K"] | None = None

    @classmethod
    def of(
        cls,
        x: Any,
        n_components: Any,
        *,
        covariance_type: Any = "full",
        sample_weight: Any = None,
        labels: Any = None,
        fixed: Any = None,
        prior: Any = None,
        assignment: Any = "soft",
        missing: Any = "integrate",
        noise: Any = False,
        errors: Any = None,
        components: Any = "gaussian",
        degrees_of_freedom: Any = None,
    ) -> "Problem":
        """Check and convert what a user gives.

        Raises
        ------
        DataError, ArgumentError
            When the table or an argument cannot be used.
        """
        table = as_table(x, missing=missing, errors=errors)
        K = component_count(n_components, table)
        one_of("assignment", assignment, ASSIGNMENTS, "The usual EM is soft.")
        if not (prior is None or isinstance(prior, ConjugatePrior)):
            raise ArgumentError(
                f"prior is {prior!r}.", "a ConjugatePrior", "The Prior of fit_nuts has no M-step in closed form."
            )
        weights = point_weights(sample_weight, table)
        structure = find_structure(covariance_type, table.n_features)
        if not structure.is_diagonal:
            check_full_rank(table.values[weights > 0], table.columns)
            check_seen_together(table.values, weights, table.columns)
        box = noise_box(noise, table.values, weights, table.columns)
        degrees = wanted_degrees(components, degrees_of_freedom, K)
        refuse_errors_beside_tails(degrees, has_errors=table.has_errors)
        problem = cls(
            table=table,
            sample_weight=weights,
            labels=known_labels(labels, table, K),
            n_components=K,
            structure=structure,
            fixed=fixed_parameters(fixed, K, table.n_features, with_noise=box is not None),
            prior=prior,
            assignment=assignment,
            noise=box,
            degrees_of_freedom=degrees,
        )
        problem._check_held_scales()
        return problem

    @property
    def is_plain(self) -> bool:
        """Whether rows are complete and exact, without noise and heavy tails: the likelihood is the plain one."""
        return self.table.is_exact and self.noise is None and self.degrees_of_freedom is None

    @property
    def estimates_degrees(self) -> bool:
        """Whether degrees of freedom are to be found."""
        return isinstance(self.degrees_of_freedom, str)

    @property
    def has_heavy_tails(self) -> bool:
        """Whether components are t distributions, not those of infinite degrees of freedom, which are Gaussians."""
        return are_heavy_tails(self.degrees_of_freedom)

    @property
    def starting_degrees(self) -> Float[np.ndarray, " K"] | None:
        """Degrees of freedom (K,) that are held, or at which their estimation begins; None for Gaussians."""
        if isinstance(self.degrees_of_freedom, str):
            return np.full(self.n_components, FIRST)
        return self.degrees_of_freedom

    @property
    def degrees_directions(self) -> Float[np.ndarray, "K J"]:
        """Which components each of the J numbers of degrees of freedom that are estimated belongs to."""
        if not self.estimates_degrees:
            return np.zeros((self.n_components, 0))
        return np.ones((self.n_components, 1)) if self.degrees_of_freedom == COMMON else np.eye(self.n_components)

    def plain(self) -> "Problem":
        """The same question of the plain Gaussian mixture, to the rows whose every cell was seen, as if without errors.

        Raises
        ------
        DataError
            When there are too few such rows.
        """
        table = replace(as_table(self.table, missing="drop"), errors=None)
        rows = np.asarray(table.kept_rows) if self.table.has_gaps else np.ones(table.n_points, bool)
        if not self.structure.is_diagonal:
            check_full_rank(table.values[self.sample_weight[rows] > 0], table.columns)
        component_count(self.n_components, table)
        fixed = None if self.fixed is None else replace(self.fixed, log_noise=None)
        own = {"sample_weight": self.sample_weight[rows], "labels": self.labels[rows], "fixed": fixed}
        return replace(self, table=table, noise=None, degrees_of_freedom=None, **own)

    @cached_property
    def whitening(self) -> Scaling:
        """Map to coordinates in which the data have the identity as covariance, or as its diagonal.

        The covariance of the data takes no part in a diagonal or spherical structure, and may be singular.
        """
        way = Scaling.standardising if self.structure.is_diagonal else Scaling.whitening
        return way(self.table.values, self.sample_weight)

    @property
    def scaling(self) -> Scaling:
        """Map to the unit coordinates of this structure; each column by itself where a row may lack the others."""
        affine = self.structure.invariance == "affine"
        return self.whitening.keeping("columns" if affine and self.table.has_gaps else self.structure.invariance)

    @cached_property
    def log_volume(self) -> float:
        """By how much the log-likelihood is higher in unit coordinates than in data units."""
        if not self.table.has_gaps:
            return float(self.sample_weight.sum() * self.scaling.log_volume)
        return float(self.sample_weight @ ~np.isnan(self.table.values) @ np.log(self.scaling.factor.diagonal()))

    @property
    def n_informative(self) -> float:
        """Weight of the rows that say something: those some cell of which was seen."""
        return float(self.sample_weight[~np.isnan(self.table.values).all(1)].sum())

    @property
    def smallest_scale(self) -> float:
        """Smallest standard deviation of a component that is believed, in unit coordinates."""
        return narrowest_allowed(self.scaling, self.whitening)

    @cached_property
    def is_bounded(self) -> bool:
        """Whether every row has errors in every direction, so that no component shrinks onto points without bound."""
        errors, weighted = self.table.error_covariances, self.sample_weight > 0
        if errors is None:
            return False
        seen = ~np.isnan(self.table.values[weighted])
        return measurement_errors.narrowest(self.scaling, errors[weighted], seen) > self.smallest_scale

    @property
    def collapsed_scale(self) -> float:
        """Standard deviation, in unit coordinates, at which a run of EM has collapsed."""
        return NO_SPREAD / 10 / np.sqrt(self.table.n_features) if self.is_bounded else self.smallest_scale

    @property
    def names_components(self) -> bool:
        """Whether labels or fixed parameters say which component is which."""
        return bool((self.labels >= 0).any()) or (self.fixed is not None and self.fixed.names_components)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters: of the weights (their sum is known), the means and the covariances."""
        K, D = self.n_components, self.table.n_features
        free = dict.fromkeys(("weights", "means", "covariances"), K)
        if self.fixed is not None:
            free = {name: int(K - getattr(self.fixed, name).sum()) for name in free}
        if self.noise is not None and (self.fixed is None or self.fixed.log_noise is None):
            free["weights"] += 1
        covariances = self.structure.n_parameters(free["covariances"], D) if free["covariances"] else 0
        n_degrees = self.degrees_directions.shape[1]
        return max(free["weights"] - 1, 0) + free["means"] * D + covariances + n_degrees

    @property
    def is_short(self) -> bool:
        """Whether NumPy ends before XLA has compiled, since there are few rows, all complete."""
        return self.is_plain and self.work <= _SHORT and self.table.n_features <= NARROW

    @property
    def work(self) -> int:
        """Rows times components times sufficient statistics, by which the time of a step of EM goes."""
        n_points, n_features = self.table.values.shape
        return n_points * self.n_components * n_statistics(n_features, diagonal=self.needs_no_products)

    @property
    def needs_no_products(self) -> bool:
        """Whether EM needs no products of different features, since no component has correlations."""
        holds_covariances = self.fixed is not None and bool(self.fixed.covariances.any())
        return self.structure.is_diagonal and self.is_plain and not holds_covariances

    def short_objective(self, *, with_products: bool = True) -> Objective:
        """The function that EM maximises, in NumPy (`is_short`); without products as far as they are not needed."""
        diagonal = self.needs_no_products and not with_products
        return self._objective_of(short_tables.prepare(*self._rows(), diagonal=diagonal))

    def objective(self, n_rows: int = 0, *, with_products: bool = True) -> Objective:
        """The function that EM maximises, its arrays on JAX's device; callable in a scope of float64 only.

        With `n_rows`, tables of up to so many rows share a program (`blocks`).
        """
        require_float64()
        diagonal = self.needs_no_products and not with_products
        return self._objective_of(jax.device_put(self._likelihood(n_rows, diagonal=diagonal)))

    def _objective_of(self, data: Likelihood) -> Objective:
        scaling, prior = self.scaling, None
        if self.prior is not None:
            prior = self.prior.pseudo_statistics(scaling, self._covariance(), self.structure, self.n_components)
        return Objective(
            data=data,
            known=self.known_statistics(diagonal=data.diagonal),
            present=np.ones(self.n_components, bool),
            fixed=None if self.fixed is None else self.fixed.in_unit_coordinates(scaling),
            prior=prior,
            structure=self.structure,
            assignment=ASSIGNMENTS[self.assignment],
            noise=None if self.noise is None else scaling.noise_to_unit(self.noise),
            degrees_of_freedom=self.starting_degrees,
            least_scale=NO_SPREAD if self.is_bounded else 0.0,
        )

    def _likelihood(self, n_rows: int, *, diagonal: bool) -> Likelihood:
        weights = self.summed_out(self.sample_weight)
        if (errors := self.table.error_covariances) is not None:
            rows = self.table.values, weights, self.scaling
            return measurement_errors.prepare(*rows, errors, self.labels, self.noise)
        if self.table.has_gaps:
            rows = self.table.values, weights, self.scaling
            return missing_cells.prepare(*rows, self.labels, self.noise, with_heavy_tails=self.has_heavy_tails)
        if self.has_heavy_tails:
            return heavy_tails.prepare(*self._rows(), self.labels, with_noise=self.noise is not None, n_rows=n_rows)
        return complete_rows.prepare(*self._rows(), n_rows, diagonal=diagonal)

    def _rows(self) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, " N"], Scaling]:
        """Complete rows, their weights in the likelihood, and the map to unit coordinates."""
        return self.table.values, self.summed_out(self.sample_weight), self.scaling

    def summed_out(self, weights: Float[np.ndarray, "*batch N"]) -> Float[np.ndarray, "*batch N"]:
        """Weights of the rows in the likelihood: exact rows with a label enter as statistics instead."""
        return np.where(self.labels >= 0, 0.0, weights) if self._labels_are_statistics else weights

    @property
    def _labels_are_statistics(self) -> bool:
        """Whether a row with a known label has statistics of its own, whatever the mixture: exact Gaussian rows do."""
        return self.table.is_exact and not self.has_heavy_tails

    def log_joint(self, mixture: Mixture) -> Float[np.ndarray, "N K"]:
        """Log joint density of what was observed of each row, and each label, in the centred form."""
        values, errors = self.table.values, self.table.error_covariances
        return (
            log_joint_densities(mixture, values) if errors is None else log_joint_with_errors(mixture, values, errors)
        )

    def log_likelihood(self, mixture: Mixture) -> float:
        """Log-likelihood of a mixture in the centred form; labelled points count with their label."""
        log_joint = self.log_joint(mixture)
        known = np.flatnonzero(self.labels >= 0)
        top = log_joint.max(1, keepdims=True)
        log_density = top[:, 0] + np.log(np.exp(log_joint - top).sum(1))
        log_density[known] = log_joint[known, self.labels[known]]
        return float(self.sample_weight @ log_density)

    def objective_without_prior(self, mixture: Mixture) -> float:
        """The objective of EM at a mixture without the prior's part, in the centred form."""
        if self.assignment == "soft":
            return self.log_likelihood(mixture)
        log_joint = self.log_joint(mixture)
        labels = np.where(self.labels >= 0, self.labels, log_joint.argmax(1))
        return float(self.sample_weight @ np.take_along_axis(log_joint, labels[:, None], 1)[:, 0])

    def known_points(self) -> tuple[Float[np.ndarray, "L D"], Int[np.ndarray, " L"], Float[np.ndarray, " L"]]:
        """Exact points with a label (L, D), in unit coordinates, their labels and their weights.

        Of a table with gaps or errors, or with heavy tails, there are none: the likelihood has the labels.
        """
        known = (self.labels >= 0) & self._labels_are_statistics
        return self.scaling.points_to_unit(self.table.values[known]), self.labels[known], self.sample_weight[known]

    def known_statistics(
        self, sample_weight: Float[np.ndarray, " N"] | None = None, *, diagonal: bool = False
    ) -> Float[np.ndarray, "_ F"]:
        """Statistics (K, F) of the points with a label, under the weights given or else the problem's own.

        Noise has one more row, of zeros.
        """
        z, labels, weights = self.known_points()
        n_rows = self.n_components + (self.noise is not None)
        if not len(z):
            n_more = heavy_tails.N_MORE if self.has_heavy_tails else 0
            return np.zeros((n_rows, n_statistics(self.table.n_features, diagonal=diagonal) + n_more))
        if sample_weight is not None:
            weights = sample_weight[self.labels >= 0]
        return (np.eye(n_rows)[labels] * weights[:, None]).T @ features_of_rows(z, diagonal=diagonal)

    def _covariance(self) -> Float[np.ndarray, "D D"]:
        """Unbiased covariance (D, D) of the data."""
        total = self.sample_weight.sum()
        return self.whitening.factor @ self.whitening.factor.T * total / max(total - 1, 1)

    def _check_held_scales(self) -> None:
        if self.fixed is None or not self.fixed.covariances.any():
            return
        held = self.scaling.to_unit(self.fixed.values).scale_tril[self.fixed.covariances]
        narrowest = float(np.linalg.svd(np.asarray(held), compute_uv=False).min())
        if narrowest < self.smallest_scale:
            raise ArgumentError(
                f"A held covariance is {narrowest:.1e} times as wide as the data in some direction.",
                f"at least {self.smallest_scale:.0e} times, below which rounding decides",
                "Check its units, which are the squared units of the data.",
            )
