"""The posterior by Hamiltonian trajectories of fixed length, with a metric known from the modes."""

from pathlib import Path
from typing import Any

from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.prior import Prior
from bayes_gmm.core.validation import names_its_arguments
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.sampling_options import SamplingOptions
from bayes_gmm.posterior.sampling_run import run
from bayes_gmm.sampling.fixed_length_hmc import FixedLengthHMC


@names_its_arguments
def fit_hmc(
    x: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    prior: Prior | None = None,
    sample_weight: Any = None,
    missing: str = "integrate",
    noise: Any = False,
    errors: Any = None,
    components: str = "gaussian",
    degrees_of_freedom: Any = None,
    num_warmup: int = 200,
    num_samples: int | None = None,
    num_chains: int = 4,
    target_accept_prob: float = 0.8,
    seed: int = 0,
    start: EMFit | None = None,
    relabelling: str = "responsibilities",
    checkpoint: str | Path | None = None,
    progress: bool = True,
    min_ess: float = 400.0,
    max_seconds: float = 120.0,
) -> Posterior:
    r"""Sample the posterior of a mixture of Gaussians or t distributions by Hamiltonian trajectories of a fixed length.

    .. math:: p(\theta \mid x) \propto p(\theta) \prod_n \sum_k \pi_k N(x_n \mid \mu_k, \Sigma_k)

    As `fit_nuts`, with the same arguments, checkpoint, verdict and result, by another sampler. Where the modes of the
    posterior tell the metric, trajectories need no search for their length: a quarter of a period makes a draw that is
    independent of the one before, for four gradients. The worst of the effective sample sizes is two to four times that
    of NUTS for each gradient. Where no mode is proper, fewer trajectories are accepted than asked for, or more than one
    in two hundred diverges, NUTS makes the draws instead, and the verdict says so; their number does not go into the
    checkpoint then.

    Parameters
    ----------
    x, n_components, covariance_type, prior, sample_weight, missing, noise, errors, components, degrees_of_freedom
        As in `fit_nuts`.
    num_warmup
        Transitions of each chain to tune the step size.
    num_samples, num_chains
        As in `fit_nuts`.
    target_accept_prob
        Acceptance that the step size is tuned to; steps are at least so short that a trajectory has two.
    seed, start, relabelling, checkpoint, progress, min_ess, max_seconds
        As in `fit_nuts`. The checkpoint of one sampler is not continued by the other.

    Returns
    -------
    Posterior
        Its `sample_stats` count gradients as `n_steps`, as those of NUTS do.

    Raises
    ------
    DataError, ArgumentError, OutputError
        As `fit_nuts`.

    References
    ----------
    Duane, Kennedy, Pendleton and Roweth (1987), doi 10.1016/0370-2693(87)91197-X; the integrator: Blanes, Casas and
    Sanz-Serna (2014), doi 10.1137/130932740.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> posterior = bg.fit_hmc(bg.datasets.load("faithful"), n_components=2, progress=False)
    >>> posterior.verdict.status.name
    'GOOD'
    """
    given = {"prior": prior, "sample_weight": sample_weight, "missing": missing, "noise": noise, "errors": errors}
    given |= {"components": components, "degrees_of_freedom": degrees_of_freedom}
    problem = PosteriorProblem.of(x, n_components, covariance_type=covariance_type, **given)
    options = SamplingOptions.of(
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=num_chains,
        target_accept_prob=target_accept_prob,
        seed=seed,
        relabelling=relabelling,
        progress=progress,
        min_ess=min_ess,
        max_seconds=max_seconds,
        kernel=FixedLengthHMC(),
    )
    return run(problem, options, start=start, checkpoint=checkpoint)
