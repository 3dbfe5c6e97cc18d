"""The maximum-likelihood fit that a search for modes starts from: the user's, or a new one."""

import numpy as np

from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.core.validation import instance_of
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.noise import same_box
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.mle.fit_em import fit_em


def starting_fit(problem: PosteriorProblem, start: EMFit | None, seed: int, *, progress: bool) -> EMFit:
    """The given EM fit, when it is of the data and structure of the problem, or a new one where none is given."""
    if start is None:
        return fit_em(
            problem.table,
            problem.n_components,
            covariance_type=problem.covariance_type,
            sample_weight=problem.sample_weight,
            noise=problem.noise,
            components="gaussian" if problem.degrees_of_freedom is None else "t",
            degrees_of_freedom=problem.degrees_of_freedom,
            seed=seed,
            progress=progress,
        )
    instance_of("start", start, EMFit, "Give what fit_em returned, or leave start out.")
    same = start.table.has_values_of(problem.table) and start.structure == problem.structure
    if not (start.mixture.n_components == problem.n_components and same):
        raise ArgumentError(
            f"start has {start.mixture.n_components} components of structure {start.structure.name} on a table of "
            f"{start.table.n_points} points.",
            f"an EM fit of the same table ({problem.table.n_points} points) with {problem.n_components} components of "
            f"structure {problem.structure.name}",
            "Leave start out, or fit it with fit_em(x, n_components, covariance_type=).",
        )
    if not same_box(start.problem.noise, problem.noise):
        raise ArgumentError(
            "start was fitted with other noise, or one of the two has none.",
            "an EM fit with the noise that is given here",
            "Leave start out, or give fit_em and this function the same noise.",
        )
    if (start.problem.degrees_of_freedom is None) != (problem.degrees_of_freedom is None):
        raise ArgumentError(
            "One of start and this posterior has components that are t distributions, the other Gaussians.",
            "an EM fit with the components that are given here",
            "Leave start out, or give fit_em and this function the same components.",
        )
    if not np.array_equal(start.problem.sample_weight, problem.row_weights):
        raise ArgumentError(
            "start was fitted with other weights of the rows.",
            "an EM fit with the sample_weight that is given here",
            "Leave start out, or give fit_em and this function the same sample_weight.",
        )
    return start
