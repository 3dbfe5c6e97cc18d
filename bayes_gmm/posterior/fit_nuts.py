"""The posterior by NUTS: chains start at the modes that hold mass, and their draws are relabelled and judged."""

from pathlib import Path
from typing import Any

from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.prior import Prior
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.sampling_options import SamplingOptions
from bayes_gmm.posterior.sampling_run import run


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
    r"""Sample the posterior of a Gaussian mixture, the labels summed out, until the draws suffice.

    .. math:: p(\theta \mid x) \propto p(\theta) \prod_n \sum_k \pi_k N(x_n \mid \mu_k, \Sigma_k)

    NUTS makes a thousand draws of each chain. Where label-invariant quantities say that these are not enough, as where
    components overlap, or where a mode may have been missed, particles are moved from the prior to the posterior, and
    chains mix short Hamiltonian moves with independence proposals fitted to the particles, until R-hat is at most 1.01
    and the effective sample size at least `min_ess`.

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
        What cells that were not seen (NaN, NA, null) mean. "integrate": they are missing at random, and the likelihood
        is that of the seen ones, which the posterior says. "refuse" raises; "drop" leaves rows with missing cells out.
    noise
        Uniform noise over a box, which takes outliers: False, True, "box", "principal box" or a density, as in
        `fit_em`. Its weight has the prior `Prior.noise`. Not beside `errors`.
    errors
        Known errors of the values: standard deviations (N, D) or covariances (N, D, D), as in `fit_em`. The posterior
        is then that of the mixture of the true values, and so is its default prior (`Prior`).
    num_warmup
        Transitions of each chain to tune NUTS's step size.
    num_samples
        Draws of each chain by NUTS, exactly so many; when left out, sampling goes on until it is done.
    num_chains
        Chains, run side by side; each mode that holds a share of the mass gets chains of its own.
    target_accept_prob
        Acceptance that the step size is tuned to. Nearer to one, steps are shorter: slower, and fewer diverge.
    seed
        Seed of everything random.
    start
        An EM fit of the same table, to start from and to take the labels from; fitted when left out.
    relabelling
        How label switching is undone: "responsibilities", "ecr" or "stephens" (`relabel`).
    checkpoint
        File that keeps the finished draws while sampling goes on. Called again with the same arguments
        (`num_samples` may be larger) after it was killed, a run continues from the file and ends with the same draws.
    progress
        Whether to show a progress bar on standard error. Ctrl-C keeps the finished draws.
    min_ess
        Effective sample size of every label-invariant quantity at which sampling ends.
    max_seconds
        Seconds after which sampling ends unfinished, which the verdict says; no limit for a given `num_samples`.

    Returns
    -------
    Posterior
        A `FitWarning` is given where tied data and the prior leave no proper posterior.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used, or the checkpoint is of another run.
    OutputError
        When the checkpoint cannot be opened. One that can no longer be written is given up with a `FitWarning`.

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
