"""The posterior by NUTS: chains start at the modes that hold mass, and their draws are relabelled and judged."""

from pathlib import Path
from typing import Any

from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.prior import Prior
from bayes_gmm.core.validation import names_its_arguments
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.sampling_options import SamplingOptions
from bayes_gmm.posterior.sampling_run import run


@names_its_arguments
def fit_nuts(
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
    r"""Sample the posterior of a mixture of Gaussians or t distributions, without labels, until the draws suffice.

    .. math:: p(\theta \mid x) \propto p(\theta) \prod_n \sum_k \pi_k N(x_n \mid \mu_k, \Sigma_k)

    NUTS makes a thousand draws of each chain. Where its first trajectories are much longer than in a Gaussian,
    label-invariant quantities say that the draws are not enough, or a mode may have been missed, particles are moved
    from the prior to the posterior, and chains mix Hamiltonian moves with independence proposals fitted to them, until
    R-hat is at most 1.01 and the effective sample size `min_ess`.

    Parameters
    ----------
    x : (N, D)
        Table of numbers; rows are points. Column names become coordinates.
    n_components
        Number of Gaussians K.
    covariance_type
        "full", "tied", "diag", "spherical", "EEI" (diagonal, tied) or "EII" (spherical, tied).
    prior
        Prior in data units; the default takes its scale from the data (`Prior`).
    sample_weight : (N,)
        Weights of the rows: a row of weight 3 counts as three equal rows, one of weight 0 is ignored.
    missing
        What cells that were not seen (NaN, NA, null) mean: "integrate", they are missing at random, and the likelihood
        is that of the seen ones; "refuse" raises; "drop" leaves rows with missing cells out.
    noise
        Uniform noise over a box, as in `fit_em`, whose weight has the prior `Prior.noise`.
    errors
        Known errors of the values, (N, D) or (N, D, D), as in `fit_em`: the posterior and its default prior are then
        those of the mixture of the true values.
    components, degrees_of_freedom
        "gaussian" or "t" with "common" or "per component" degrees of freedom, or values, as in `fit_em` (`Prior`).
    num_warmup, num_samples
        Transitions of each chain to tune NUTS's step size, and its draws, exactly so many; when left out, sampling goes
        on until it is done.
    num_chains
        Chains, run side by side; each mode that holds a share of the mass gets chains of its own.
    target_accept_prob
        Acceptance that the step size is tuned to. Nearer to one, steps are shorter, and fewer diverge.
    seed, start
        Seed of everything random; and an EM fit of the same table, to start from and to take labels from.
    relabelling
        How label switching is undone: "responsibilities", "ecr" or "stephens" (`relabel`).
    checkpoint
        File that keeps finished draws of NUTS while sampling goes on. Called again with the same arguments after it was
        killed, a run continues from the file and ends with the same draws: what may follow NUTS is made again.
    progress
        Whether to show a progress bar on standard error. Ctrl-C keeps the finished draws.
    min_ess, max_seconds
        Effective sample size of every label-invariant quantity at which sampling ends, and seconds after which it ends
        unfinished, which the verdict says; no limit for a given `num_samples`.

    Returns
    -------
    Posterior
        A `FitWarning` is given where tied data and the prior leave no proper posterior.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used, or the checkpoint is of another run.
    OutputError
        When the checkpoint cannot be opened. One that cannot be written any more is left with a `FitWarning`.

    References
    ----------
    Hoffman and Gelman (2014), JMLR 15, 1593-1623; a tempered pilot: Chopin (2002), doi 10.1093/biomet/89.3.539; mixed
    kernels: Tierney (1994), doi 10.1214/aos/1176325750.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> posterior = bg.fit_nuts(bg.datasets.load("faithful"), n_components=2, progress=False)
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
    )
    return run(problem, options, start=start, checkpoint=checkpoint)
