r"""The function that EM maximises, given a covariance structure, fixed parameters, known labels and a prior.

.. math:: \sum_{n \in U} w_n \log \sum_k p(x_n, k) + \sum_{n \notin U} w_n \log p(x_n, z_n) + \log p(\theta)

Labelled points have one term each, linear in the natural parameters, so all of them enter as one array of statistics.
With hard assignment the sum over k is a maximum: the classification likelihood.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Annotated, Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float64, Int

from bayes_gmm.core.linalg import (
    cholesky,
    cholesky_factors,
    diagonal_matrices,
    diagonal_of,
    log_diagonal,
    log_normalised,
    namespace,
    product,
)
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.likelihood.linear_form import Assignment, Expectation
from bayes_gmm.likelihood.moments import Moments
from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise
from bayes_gmm.objective.conjugate_prior import PseudoStatistics
from bayes_gmm.objective.degeneracy import narrowest_scales
from bayes_gmm.objective.fixed_parameters import Fixed

type Statistics = Float64[Array | np.ndarray, "*batch K F"]
"""Expected statistics of one mixture, or in NumPy of a batch of them."""

_NEXT_TO_NOTHING = 1e-100
"""Count of a component that shall not influence the others; second derivatives divide by its third power."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """Function of a mixture that EM maximises, in unit coordinates.

    Attributes
    ----------
    data
        The likelihood of the rows without a label.
    known : (K, F)
        Statistics of the points with a label; noise has one more row of zeros.
    present : (K,)
        Whether each component exists. Several numbers of components share one compiled program, with some absent; in
        NumPy a batch of mixtures may have components of its own, (R, K).
    fixed
        Parameters that keep their value, or None.
    prior
        Conjugate prior as pseudo-statistics, or None.
    structure
        What the covariances have in common.
    assignment
        `linear_form.soft` or `linear_form.hard`.
    noise
        The box of the noise, whose statistics come after those of the components, or None.
    degrees_of_freedom : (K,)
        Those of t distributions, which the M-step holds (`mle/degrees_of_freedom.py`), or None for Gaussians.
    least_scale
        Diagonal of a factor that is not gone below, where the likelihood allows covariances of zero; else 0.
    """

    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    data: Likelihood
    known: Annotated[Any, "K F"]
    present: Annotated[Any, "*batch K"]
    fixed: Fixed | None
    prior: PseudoStatistics | None
    structure: Structure = field(metadata={"static": True})
    assignment: Assignment = field(metadata={"static": True})
    noise: Noise | None = None
    degrees_of_freedom: Annotated[Any, "K; None for Gaussians"] = None
    least_scale: float = field(default=0.0, metadata={"static": True})

    @property
    def n_features(self) -> int:
        """D, the number of columns of the data."""
        return self.data.n_features

    def expect(self, mixture: Mixture) -> Expectation:
        """The pass over the data: by far the longest part of `evaluate`, and the only one that is a sum over points."""
        return self.data.expected_at(mixture, self.assignment)

    def evaluate(self, mixture: Mixture, expected: Expectation | None = None) -> Expectation:
        """E-step: the value at a mixture, and the expected statistics (K, F); `expected` is the result of `expect`."""
        value, statistics = self.expect(mixture) if expected is None else expected
        return Expectation(value + self._labelled(mixture) + self.log_prior(mixture), statistics + self.known)

    def _labelled(self, mixture: Mixture) -> Any:
        """The part of the value that points with a label have."""
        if isinstance(self.known, np.ndarray) and not self.known.any():
            return 0.0
        # An absent component has log weight minus infinity and no statistics; their product is taken as zero.
        eta = self.data.natural(mixture)
        return namespace(eta).where(self.known != 0, self.known * eta, 0.0).sum((-2, -1))

    def gained(self, statistics: Statistics, better: Mixture, mixture: Mixture) -> Any:
        """By how much `better` is above a mixture, if the statistics were those of observed labels.

        That is what the M-step maximises, whose own mixture gains most.
        """
        own = self._of_components(statistics)
        moments, weights = self.data.moments(own), self.data.mean_weights(own)
        one, other = (self._complete(statistics, moments, weights, each) for each in (better, mixture))
        return one - other

    def _complete(self, statistics: Statistics, moments: Moments, mean_weights: Any, mixture: Mixture) -> Any:
        """The value if the statistics, those of components with these moments, were those of observed labels."""
        counts, centers, covariances = moments
        xp = namespace(statistics)
        if self.data.diagonal:
            scales = diagonal_of(mixture.scale_tril)
            offsets, log_scale = (centers - mixture.means) / scales, xp.log(scales).sum(-1)
            trace = (diagonal_of(covariances) / scales**2).sum(-1)
        else:
            whitening = mixture.whitening
            offsets = (whitening @ (centers - mixture.means)[..., None])[..., 0]
            trace = (product(whitening, covariances) * whitening).sum((-2, -1))
            log_scale = -log_diagonal(whitening)
        squares = mean_weights * (offsets**2).sum(-1) + counts * trace
        log_density = counts * (mixture.log_weights - log_scale) - 0.5 * squares
        total = xp.where(counts > 0, log_density, 0.0).sum(-1) + self.log_prior(mixture)
        if mixture.noise is None:
            return total
        count = statistics[..., -1, 0]
        return total + xp.where(count > 0, count * mixture.noise.log_joint, 0.0)

    def log_prior(self, mixture: Mixture) -> Any:
        """Logarithm of the prior density up to a constant; zero without a prior."""
        xp = namespace(mixture.log_weights)
        if self.prior is None:
            return xp.zeros(mixture.log_weights.shape[:-1], mixture.log_weights.dtype)
        with np.errstate(invalid="ignore"):  # an absent component has no weight, and no term
            of_components = xp.where(self.present, self.prior.log_density(mixture), 0.0).sum(-1)
        if mixture.noise is None:
            return of_components
        return of_components + self.prior.weight_count * mixture.noise.log_weight

    @property
    def needs_compiling(self) -> bool:
        """Whether an M-step is not for NumPy: it holds up covariances of zero, or has heavy tails."""
        return bool(self.least_scale) or self.degrees_of_freedom is not None

    def maximise(self, statistics: Statistics, near: Mixture | None = None) -> Mixture:
        """M-step: the best mixture if these were the statistics of observed labels.

        For structures whose M-step iterates, the iteration begins at the mixture `near` and never ends below it.
        """
        own = self._of_components(statistics)
        (counts, centers, covariances), weights = self.data.moments(own), self.data.mean_weights(own)
        means, scatters = self._means(weights, centers), counts[..., None, None] * covariances
        if means is not centers:
            offsets = centers - means
            scatters = scatters + weights[..., None, None] * (offsets[..., :, None] * offsets[..., None, :])
        log_weights = self._log_weights(statistics[..., 0])
        return Mixture(
            log_weights=log_weights[..., : counts.shape[-1]],
            means=means if self.all_are_free else namespace(means).where(self.present[..., None], means, 0.0),
            scale_tril=self._scale_tril(counts, scatters, means, near),
            noise=self.noise_with(log_weights),
            degrees_of_freedom=self.degrees_of_freedom,
        )

    def noise_with(self, log_weights: Any) -> Noise | None:
        """The noise, with the last of the logarithms of the weights; None without any."""
        if self.noise is None:
            return None
        batch = log_weights.shape[:-1]
        return (self.noise.repeated(batch) if batch else self.noise).with_log_weight(log_weights[..., -1])

    def _of_components(self, statistics: Statistics) -> Any:
        return statistics if self.noise is None else statistics[..., :-1, :]

    def without_data(self) -> "Objective":
        """An objective with this M-step and no data, for programs that only maximise."""
        return replace(self, data=self.data.without_rows())

    def with_slots(self, n_slots: int) -> "Objective":
        """An objective with room for more components, all of them absent."""
        absent = n_slots - self.n_slots
        if not absent:
            return self

        def extend(leaf: Any) -> Any:
            return np.pad(leaf, [(0, absent)] + [(0, 0)] * (np.ndim(leaf) - 1))

        fixed = None if self.fixed is None else self.fixed.with_components(extend)
        degrees = self.degrees_of_freedom
        degrees = None if degrees is None else np.pad(degrees, (0, absent), mode="edge")
        roomy = {"known": extend(self.known), "present": extend(self.present), "fixed": fixed}
        return replace(self, degrees_of_freedom=degrees, **roomy)

    @property
    def n_slots(self) -> int:
        """Number of components, absent ones among them."""
        return self.present.shape[-1]

    def of_mixtures(self, numbers: Int[np.ndarray, " some"]) -> "Objective":
        """The objective of some mixtures of a batch."""
        return self if self.present.ndim == 1 else replace(self, present=self.present[numbers])

    def is_free(self) -> Bool[Array | np.ndarray, "*batch K"]:
        """Whether each component (K,) exists and has a covariance to be fitted."""
        return self.present if self.fixed is None else self.present & ~self.fixed.covariances

    @cached_property
    def all_are_free(self) -> bool:
        """Whether NumPy can tell that all components exist and that nothing of them is held."""
        return self.fixed is None and isinstance(self.present, np.ndarray) and bool(self.present.all())

    def has_free_weight(self) -> Any:
        """Whether the weight of each component, and of noise after them, is there to be fitted."""
        present = self.present if self.noise is None else namespace(self.present).append(self.present, True)
        return (
            present if self.fixed is None else present & ~self.fixed.held_weights(with_noise=self.noise is not None)[0]
        )

    def _means(self, counts: Any, centers: Any) -> Any:
        xp, means = namespace(centers), centers
        if self.prior is not None:
            means = self.prior.shrink(counts, xp.where(counts[..., None] > 0, centers, 0.0))
        return means if self.fixed is None else xp.where(self.fixed.means[:, None], self.fixed.values.means, means)

    def covariance_factors(self, counts: Any, scatters: Any, near: Any) -> Any:
        """Cholesky factors (..., K, D, D) of the best covariances within the structure; fixed ones stay as they are."""
        if self.all_are_free:
            return self._factors(self.structure.estimate(counts, scatters, near))
        # Absent and fixed components take part with a count so small that it does not influence the others.
        xp, n_features = namespace(scatters), scatters.shape[-1]
        free, identity = self.is_free(), np.eye(n_features)[None]
        # Distinct eigenvalues, or the eigenvectors would have no derivatives.
        filler = _NEXT_TO_NOTHING * np.diag(np.arange(1.0, n_features + 1))[None]
        counts = xp.where(free, counts, _NEXT_TO_NOTHING)
        scatters = xp.where(free[..., None, None], scatters, filler)
        near = None if near is None else xp.where(free[..., None, None], near, identity)
        factors = self._factors(self.structure.estimate(counts, scatters, near))
        if self.fixed is not None:
            factors = xp.where(self.fixed.covariances[:, None, None], self.fixed.values.scale_tril, factors)
        return xp.where(self.present[..., None, None], factors, identity)

    def narrowest_scales(self, mixture: Mixture) -> Any:
        """Lower bounds of the components' standard deviations in every direction (`degeneracy.narrowest_scales`)."""
        if not self.data.diagonal:
            return narrowest_scales(mixture)
        scales = diagonal_of(mixture.scale_tril)
        return 1 / namespace(scales).sqrt((1 / scales**2).sum(-1))

    def _factors(self, covariances: Any) -> Any:
        if self.data.diagonal:
            return diagonal_matrices(namespace(covariances).sqrt(diagonal_of(covariances)))
        if not self.least_scale:
            return cholesky_factors(covariances)
        return jax.vmap(partial(cholesky, least=self.least_scale))(covariances)

    def free_log_weights(self, log_counts: Any) -> Any:
        """Logarithms of the weights (..., K), and of noise after them, proportional to counts where they are free."""
        xp = namespace(log_counts, self.present)
        present = self.present if self.noise is None else xp.append(self.present, True)
        if self.fixed is None:
            return log_normalised(xp.where(present, log_counts, -np.inf))
        held, log_values = self.fixed.held_weights(with_noise=self.noise is not None)
        log_held = xp.where(held, log_values, -np.inf)
        shares = log_normalised(xp.where(present & ~held, log_counts, -np.inf))
        return xp.where(held, log_held, xp.log1p(-xp.exp(log_held).sum()) + shares)

    def _scale_tril(self, counts: Any, scatters: Any, means: Any, near: Mixture | None) -> Any:
        if self.prior is not None:
            scatters = namespace(scatters).where(counts[..., None, None] > 0, scatters, 0.0)
            counts, scatters = self.prior.add(counts, scatters, means)
        begin = None if near is None or self.structure.has_closed_form else near.scatters
        return self.covariance_factors(counts, scatters, begin)

    def _log_weights(self, counts: Any) -> Any:
        return self.free_log_weights(
            namespace(counts).log(counts if self.prior is None else counts + self.prior.weight_count)
        )
