"""The same posterior in the languages of the peers: textbook NumPyro, Stan (PyStan 3), and PyMC with nutpie.

A peer is prepared for a problem, which may take minutes of compiling, and then draws for one seed after another. Every
peer reads its prior from the package's own (`Hyperparameters.of`), so nobody can differ by a misprint, and starts at
the EM fit. What it gives back is a `Mixture` with axes (chain, draw), under whatever labels the chains have.
"""

import contextlib
import io
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS, init_to_value

import bayes_gmm as bg
from bayes_gmm import nuts

N_CHAINS = 4

COMPILING = ("jaxpr_trace_duration", "jaxpr_to_mlir_module_duration", "backend_compile_duration")
_compiled: list[tuple[float, float]] = []


def _note(name: str, duration: float, **_: Any) -> None:
    if name.endswith(COMPILING):
        now = time.perf_counter()
        _compiled.append((now - duration, now))


jax.monitoring.register_event_duration_secs_listener(_note)


def seconds_compiling(begin: float) -> float:
    """Time since `begin` in which JAX traced or compiled; what is traced within a trace counts once."""
    total = end = 0.0
    for start, stop in sorted(interval for interval in _compiled if interval[0] >= begin):
        total += max(stop - max(start, end), 0.0)
        end = max(end, stop)
    return total


class Run(NamedTuple):
    """Draws with axes (chain, draw), seconds of the whole call and of sampling alone, and what NUTS said."""

    draws: bg.Mixture
    seconds: float
    sampling: float
    leapfrogs: float
    divergences: int


class Hyperparameters(NamedTuple):
    """Numbers of the package's default prior; means and variances have the shape (K, D)."""

    weights: np.ndarray
    location: np.ndarray
    width: np.ndarray
    shape: np.ndarray
    rate: np.ndarray
    correlations: float

    @classmethod
    def of(cls, x: np.ndarray, n_components: int) -> "Hyperparameters":
        """Read them off `bg.Prior` for these data."""
        prior = bg.Prior().for_data(x, n_components)
        variances = prior.variances
        parts = prior.weights.concentration, prior.means.loc, prior.means.scale, variances.concentration, variances.rate
        eta = float(prior.correlations.concentration) if x.shape[1] > 1 else 1.0
        return cls(*(np.asarray(part, float) for part in parts), eta)


type Sampler = Callable[[int, int, int], Run]
"""From seed, number of warm-up transitions and number of draws to a run."""


def ours(x: np.ndarray, fit: bg.EMFit) -> Sampler:
    """`fit_nuts`, its EM included."""
    return _ours(x, fit.mixture.n_components, None)


def ours_from_fit(x: np.ndarray, fit: bg.EMFit) -> Sampler:
    """`fit_nuts` from an EM fit that is there already."""
    return _ours(x, fit.mixture.n_components, fit)


def _ours(x: np.ndarray, n_components: int, start: bg.EMFit | None) -> Sampler:
    sample = nuts.sample

    def run(seed: int, num_warmup: int, num_samples: int) -> Run:
        sampling = 0.0

        def timed(*args: Any, **kwargs: Any) -> Any:
            nonlocal sampling
            begin = time.perf_counter()
            chains = sample(*args, **kwargs)
            sampling += time.perf_counter() - begin
            return chains

        nuts.sample = timed
        try:
            begin = time.perf_counter()
            size = {"num_warmup": num_warmup, "num_samples": num_samples, "num_chains": N_CHAINS}
            posterior = bg.fit_nuts(x, n_components, **size, seed=seed, start=start, progress=False)
            seconds = time.perf_counter() - begin
        finally:
            nuts.sample = sample
        stats = posterior.tree["sample_stats"]
        return Run(posterior.draws, seconds, sampling, float(stats["n_steps"].mean()), int(stats["diverging"].sum()))

    return run


def textbook(x: np.ndarray, fit: bg.EMFit) -> Sampler:
    """NumPyro's `MCMC(NUTS)` on `MixtureSameFamily` in float64; `sampling` leaves out tracing and compiling."""
    prior = Hyperparameters.of(x, fit.mixture.n_components)
    factors = fit.mixture.scale_tril / fit.mixture.scales[..., None]
    values = {"weights": fit.mixture.weights, "means": fit.mixture.means, "variances": fit.mixture.scales**2}
    strategy = init_to_value(values=values | ({"factors": factors} if x.shape[1] > 1 else {}))

    def run(seed: int, num_warmup: int, num_samples: int) -> Run:
        with jax.enable_x64(True):
            begin = time.perf_counter()
            size = {"num_warmup": num_warmup, "num_samples": num_samples, "num_chains": N_CHAINS}
            kernel = NUTS(_textbook_model, init_strategy=strategy)
            mcmc = MCMC(kernel, **size, chain_method="vectorized", progress_bar=False)
            mcmc.run(jax.random.key(seed), x, prior, extra_fields=("num_steps", "diverging"))
            sites, extra = jax.device_get((mcmc.get_samples(group_by_chain=True), mcmc.get_extra_fields()))
            seconds = time.perf_counter() - begin
        draws = _mixture(sites["weights"], sites["means"], sites["variances"], sites.get("factors"))
        leapfrogs, divergences = float(extra["num_steps"].mean()), int(extra["diverging"].sum())
        return Run(draws, seconds, seconds - seconds_compiling(begin), leapfrogs, divergences)

    return run


def _textbook_model(x: np.ndarray, prior: Hyperparameters) -> None:
    n_components, n_features = prior.location.shape
    weights = numpyro.sample("weights", dist.Dirichlet(prior.weights))
    with numpyro.plate("component", n_components):
        means = numpyro.sample("means", dist.Normal(prior.location, prior.width).to_event(1))
        variances = numpyro.sample("variances", dist.InverseGamma(prior.shape, prior.rate).to_event(1))
        if n_features > 1:
            factors = numpyro.sample("factors", dist.LKJCholesky(n_features, prior.correlations))
            gaussians = dist.MultivariateNormal(means, scale_tril=variances[..., None] ** 0.5 * factors)
        else:
            gaussians = dist.Normal(means, variances**0.5).to_event(1)
    with numpyro.plate("point", len(x)):
        numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(weights), gaussians), obs=x)


STAN = """
data {
  int N; int D; int K;
  array[N] vector[D] x;
  vector[K] alpha; array[K] vector[D] location; array[K] vector[D] width;
  array[K] vector[D] shape; array[K] vector[D] rate; real eta;
}
parameters {
  simplex[K] weights;
  array[K] vector[D] means;
  array[K] vector<lower=0>[D] variances;
  array[K] cholesky_factor_corr[D] factors;
}
model {
  array[K] matrix[D, D] root;
  vector[K] log_weights = log(weights);
  weights ~ dirichlet(alpha);
  for (k in 1:K) {
    means[k] ~ normal(location[k], width[k]);
    variances[k] ~ inv_gamma(shape[k], rate[k]);
    factors[k] ~ lkj_corr_cholesky(eta);
    root[k] = diag_pre_multiply(sqrt(variances[k]), factors[k]);
  }
  for (n in 1:N) {
    vector[K] joint = log_weights;
    for (k in 1:K) joint[k] += multi_normal_cholesky_lpdf(x[n] | means[k], root[k]);
    target += log_sum_exp(joint);
  }
}
"""


def stan(x: np.ndarray, fit: bg.EMFit) -> Sampler:
    """PyStan 3; the model is built anew for each seed, outside the clock, for the seed is part of it."""
    from stan import build

    mixture, (n_points, n_features) = fit.mixture, x.shape
    prior = Hyperparameters.of(x, mixture.n_components)._asdict()
    data = {"N": n_points, "D": n_features, "K": mixture.n_components, "x": x}
    data |= prior | {"alpha": prior["weights"], "eta": prior["correlations"]}
    data = {name: data[name] for name in data if name not in ("weights", "correlations")}
    start = {"weights": mixture.weights, "means": mixture.means, "variances": mixture.scales**2}
    start["factors"] = mixture.scale_tril / mixture.scales[..., None]

    def run(seed: int, num_warmup: int, num_samples: int) -> Run:
        with _silence():
            posterior = build(STAN, data=data, random_seed=seed + 1)
            begin = time.perf_counter()
            size = {"num_chains": N_CHAINS, "num_warmup": num_warmup, "num_samples": num_samples}
            found = posterior.sample(**size, init=[{name: part.tolist() for name, part in start.items()}] * N_CHAINS)
            seconds = time.perf_counter() - begin
        # A parameter comes with its draws last, and of these the chain changes fastest.
        parts = [np.moveaxis(_by_chain(found[name]), (-1, -2), (0, 1)) for name in start]
        return Run(_mixture(*parts), seconds, seconds, found["n_leapfrog__"].mean(), int(found["divergent__"].sum()))

    run(0, 1, 1)  # builds
    return run


def _by_chain(draws: np.ndarray) -> np.ndarray:
    return draws.reshape(*draws.shape[:-1], -1, N_CHAINS)


@contextlib.contextmanager
def _silence() -> Any:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def pymc_nutpie(x: np.ndarray, fit: bg.EMFit) -> Sampler:
    """PyMC's model compiled and sampled by nutpie with its own defaults; chains share the cores that there are."""
    import nutpie

    compiled = nutpie.compile_pymc_model(_pymc_model(x, fit.mixture))

    def run(seed: int, num_warmup: int, num_samples: int) -> Run:
        begin = time.perf_counter()
        found = nutpie.sample(
            compiled, draws=num_samples, tune=num_warmup, chains=N_CHAINS, seed=seed, progress_bar=False
        )
        seconds = time.perf_counter() - begin
        sites = {name: values.values for name, values in found["posterior"].to_dataset().data_vars.items()}
        factors = np.stack([sites[f"factor_{k}"] for k in range(fit.mixture.n_components)], 2)
        draws = _mixture(sites["weights"], sites["means"], sites["variances"], factors)
        stats = found["sample_stats"]
        return Run(draws, seconds, seconds, float(stats["n_steps"].mean()), int(stats["diverging"].sum()))

    run(0, 10, 10)  # whatever is compiled at the first call
    return run


def _pymc_model(x: np.ndarray, start: bg.Mixture) -> Any:
    import pymc as pm

    prior = Hyperparameters.of(x, start.n_components)
    factors = start.scale_tril / start.scales[..., None]
    with pm.Model() as model:
        weights = pm.Dirichlet("weights", prior.weights, initval=start.weights)
        means = pm.Normal("means", prior.location, prior.width, initval=start.means)
        variances = pm.InverseGamma("variances", prior.shape, prior.rate, initval=start.scales**2)
        gaussians = []
        for k, factor in enumerate(factors):
            tril = pm.LKJCorr(f"factor_{k}", n=x.shape[1], eta=prior.correlations, initval=factor)
            gaussians.append(pm.MvNormal.dist(means[k], chol=variances[k][:, None] ** 0.5 * tril))
        pm.Mixture("x", w=weights, comp_dists=gaussians, observed=x)
    return model


def _mixture(weights: Any, means: Any, variances: Any, factors: Any) -> bg.Mixture:
    factors = np.ones((*means.shape, 1)) if factors is None else factors
    scale_tril = np.sqrt(variances)[..., None] * factors
    return bg.Mixture(log_weights=np.log(weights), means=np.asarray(means), scale_tril=scale_tril)


PROGRAMS = {"bayes_gmm": ours, "bayes_gmm from fit": ours_from_fit, "NumPyro": textbook, "PyStan": stan}
PROGRAMS |= {"PyMC + nutpie": pymc_nutpie}
"""How each program is prepared."""

NEEDS = {"PyStan": "stan", "PyMC + nutpie": "nutpie"}
"""Packages without which a peer is left out."""
