"""The maximum-likelihood fit: EM from many starts, the best one kept."""

import warnings
from typing import Any

from bayes_gmm.core.validation import names_its_arguments
from bayes_gmm.errors import FitWarning
from bayes_gmm.mle.best_fit import SearchOptions, fit_problem
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.conjugate_prior import ConjugatePrior
from bayes_gmm.objective.problem import Problem


@names_its_arguments
def fit_em(
    x: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    n_starts: int | None = None,
    start: Any = None,
    sample_weight: Any = None,
    labels: Any = None,
    fixed: Any = None,
    prior: ConjugatePrior | None = None,
    assignment: str = "soft",
    missing: str = "integrate",
    noise: Any = False,
    errors: Any = None,
    components: str = "gaussian",
    degrees_of_freedom: Any = None,
    accelerate: bool = True,
    tol: float | int = 1e-8,
    max_steps: int = 1000,
    seed: int = 0,
    spurious: str = "keep",
    progress: bool = True,
) -> EMFit:
    r"""Fit a mixture of Gaussians, or of t distributions, by maximum likelihood.

    .. math:: \hat\theta = \arg\max_\theta \sum_n w_n \log \sum_k \pi_k N(x_n \mid \mu_k, \Sigma_k)

    Parameters
    ----------
    x : (N, D)
        Table of numbers; rows are points. Column names are kept.
    n_components
        Number of Gaussians K.
    covariance_type
        "full", "tied", "diag", "spherical", or one of mclust's codes for volume, shape and orientation: equal (E),
        varying (V) or identity (I) over components (`covariance_structures`).
    n_starts
        Number of starts; by default 20 to 128, many where they are cheap, but no more than the first 32 when 24 of
        these come to one maximum, the best. The first 32 are random, of three kinds (`random_starts`); further ones,
        up to 32 at a time, split a component of the best maxima found (`split_starts`). All make a short run, and the
        best go on; once 24 have come to the best maximum, those 20 nats and more below are left behind. For ten
        or more components, and from four on where there are more than 2000 points, the first two starts are the best
        ends of two to eight climbs instead (`climbs`): k-means cells merged to components, then components split,
        merged and moved while that gains; few random starts, or none, follow. There are no climbs with hard
        assignment, known labels, fixed parameters that name components, or more than 64 features.
    start
        Labels (N,), responsibilities (N, K) or a `Mixture`, in place of random starts. With noise the label -1 is its.
        Of a `Mixture` with correlations the variances count where covariances are diagonal.
    sample_weight : (N,)
        A row of weight w counts as w equal rows.
    labels : (N,)
        Known component of each row, -1 or None where it is not known. With all known the fit is in closed form.
    fixed
        Parameters that keep their value: a mapping with keys "weights", "means", "covariances", each with an array for
        all components or a mapping from component to value; weights may be "equal" (`fixed_parameters`). They do not
        count in BIC.
    prior
        A `ConjugatePrior`: the answer is then the mode of the posterior, and cannot collapse.
    assignment
        "soft" is EM. "hard" gives each point whole to its most probable component: classification EM, which with
        `covariance_type="EII"` and fixed equal weights is k-means.
    missing
        What cells that were not seen (NaN, NA, null) mean. "integrate": they are missing at random, and the likelihood
        is that of the seen ones, which the fit says. "refuse" raises; "drop" leaves out rows with missing cells, with
        their weights and labels: `Table.left_out` says so, and `Table.kept_rows` which are left.
    noise
        Uniform noise over a box, which takes outliers: True or "box" for the smallest box along the columns that holds
        all rows, "principal box" for that along their principal axes, or a density, in one over the units of all
        columns (`Noise`). Values with known errors have none.
    errors
        Known errors of the values: standard deviations (N, D) or covariances (N, D, D), 0 where a value is exact; those
        of missing cells are not looked at. The mixture is then that of the true values, x = true + N(0, errors), known
        as extreme deconvolution. Its covariances may be zero, which `EMFit.doubts` says and nothing prevents.
    components
        "gaussian", or "t" for multivariate t distributions, whose heavy tails leave outliers little weight.
    degrees_of_freedom
        Those of t distributions: "common" (the default) estimates one number for all components, "per component" one
        for each, between 1 and 10000, where a component is Gaussian enough, which the fit says; or values to hold, one
        or (K,). The fit then has scatters, `Mixture.scatters`; covariances are larger by nu / (nu - 2).
    accelerate
        Whether runs that are not done after 20 steps extrapolate (`em_run`). The objective never falls.
    tol
        Stop when the last gain, and what is left by the score (its squared length in units of the information, as far
        as the last steps show that), are below `tol` nats; parameters are then within about sqrt(2 tol) standard
        errors of the maximum.
    max_steps
        Largest number of EM steps of each start.
    seed
        Seed of the random starts.
    spurious
        "keep" gives the highest maximum found. "skip" passes over those in which a component has fewer than two points
        for each of its own parameters, if there is another: many such maxima are spurious, but some are small tight
        clusters, which no rule tells apart. `EMFit.doubts` names them and the best of the others.
    progress
        Whether to show on standard error how climbs proceed when they take more than three seconds.

    Returns
    -------
    EMFit
        The best start, with the log-likelihoods of all. A `FitWarning` is given when it did not converge.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used.
    FitError
        When the process was forked after JAX ran in its parent, where JAX would wait for ever.

    Notes
    -----
    Many fits in many processes: ``joblib.Parallel(n_jobs=4)(joblib.delayed(bg.fit_em)(part, 2) for part in parts)``
    starts processes that can compute, as do ``multiprocessing.get_context("spawn").Pool(4)`` and Dask, by
    ``dask.compute(*[dask.delayed(bg.fit_em)(part, 2) for part in parts], scheduler="processes")`` or on a cluster.

    References
    ----------
    Dempster, Laird and Rubin (1977), doi 10.1111/j.2517-6161.1977.tb01600.x; classification EM: Celeux and Govaert
    (1992), doi 10.1016/0167-9473(92)90042-E; missing cells: `missing_cells`; noise: `Noise`; errors: Bovy, Hogg and
    Roweis (2011), doi 10.1214/10-AOAS439; t distributions: Peel and McLachlan (2000), doi 10.1023/A:1008981510081.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> mle = bg.fit_em(bg.datasets.load("faithful"), n_components=2)
    >>> round(mle.log_likelihood, 3)
    -1130.264
    """
    problem = Problem.of(
        x,
        n_components,
        covariance_type=covariance_type,
        sample_weight=sample_weight,
        labels=labels,
        fixed=fixed,
        prior=prior,
        assignment=assignment,
        missing=missing,
        noise=noise,
        errors=errors,
        components=components,
        degrees_of_freedom=degrees_of_freedom,
    )
    options = {"n_starts": n_starts, "accelerate": accelerate, "tol": tol, "max_steps": max_steps, "seed": seed}
    fit = fit_problem(problem, SearchOptions.of(start=start, spurious=spurious, progress=progress, **options))
    if fit.status is not EMStatus.CONVERGED:
        said = " ".join((f"EM ended {fit.status.name}.", *fit.degeneracies, fit.status.advice))
        warnings.warn(said, FitWarning, stacklevel=3)
    return fit
