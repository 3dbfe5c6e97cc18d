"""The same posterior in the languages of the peers: textbook NumPyro, Stan (PyStan 3), and PyMC with nutpie.

A peer is prepared for a problem, which may take minutes of compiling, and then draws for one seed after another. Every
peer reads its prior from the package's own (`Problem.of`), so nobody can differ by a misprint, and starts at the same
mixture. It gives back sites with axes (chain, draw), under whatever labels the chains have. Nothing of the package is
imported here, nor a peer before it is prepared, so that `first_fit.py` can time a process that needs one of them only.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

N_CHAINS = 4


class Problem(NamedTuple):
    """Data (N, D), the start, and the numbers of the prior; K components come first."""

    x: np.ndarray
    start_weights: np.ndarray
    start_means: np.ndarray
    start_variances: np.ndarray
    start_factors: np.ndarray
    weights: np.ndarray
    location: np.ndarray
    width: np.ndarray
    shape: np.ndarray
    rate: np.ndarray
    correlations: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, start: Any, prior: Any) -> "Problem":
        """From a mixture and a `bg.Prior` for these data."""
        scales, variances = np.asarray(start.scales), prior.variances
        begin = start.weights, start.means, scales**2, start.scale_tril / scales[..., None]
        parts = prior.means.loc, prior.means.scale, variances.concentration, variances.rate
        each = (np.broadcast_to(part, scales.shape) for part in parts)
        eta = float(prior.correlations.concentration) if x.shape[1] > 1 else 1.0
        return cls(*(np.asarray(part, float) for part in (x, *begin, prior.weights.concentration, *each, eta)))

    def save(self, path: Path) -> None:
        """For another process."""
        np.savez(path, **self._asdict())

    @classmethod
    def load(cls, path: str | Path) -> "Problem":
        """What was saved."""
        with np.load(path) as file:
            return cls(**{name: file[name] for name in cls._fields})

    @property
    def start(self) -> dict[str, np.ndarray]:
        """Value of each site at the start."""
        values = self.start_weights, self.start_means, self.start_variances, self.start_factors
        return dict(zip(("weights", "means", "variances", "factors"), values, strict=True))


def prior_of_variances(x: np.ndarray) -> Any:
    """What all programs are given: the package's default has a distribution of scales that no peer has."""
    import numpyro.distributions as dist

    return dist.InverseGamma(2.0, 0.1 * x.var(0))


class Run(NamedTuple):
    """Sites with axes (chain, draw), seconds of the whole call and of sampling alone, and what NUTS said."""

    sites: dict[str, np.ndarray]
    seconds: float
    sampling: float
    leapfrogs: float
    divergences: int


type Sampler = Callable[[int, int, int], Run]
"""From seed, number of warm-up transitions and number of draws to a run."""

COMPILING = ("jaxpr_trace_duration", "jaxpr_to_mlir_module_duration", "backend_compile_duration")
_compiled: list[tuple[float, float]] = []


def _note(name: str, duration: float, **_: Any) -> None:
    if name.endswith(COMPILING):
        now = time.perf_counter()
        _compiled.append((now - duration, now))


def seconds_compiling(begin: float) -> float:
    """Time since `begin` in which JAX traced or compiled; what is traced within a trace counts once."""
    total = end = 0.0
    for start, stop in sorted(interval for interval in _compiled if interval[0] >= begin):
        total += max(stop - max(start, end), 0.0)
        end = max(end, stop)
    return total


def textbook(problem: Problem) -> Sampler:
    """NumPyro's `MCMC(NUTS)` on `MixtureSameFamily` in float64; `sampling` leaves out tracing and compiling."""
    import jax
    from numpyro.infer import MCMC, NUTS, init_to_value

    jax.monitoring.register_event_duration_secs_listener(_note)
    start = dict(problem.start)
    if problem.x.shape[1] == 1:
        del start["factors"]

    def run(seed: int, num_warmup: int, num_samples: int) -> Run:
        with jax.enable_x64(True):
            begin = time.perf_counter()
            size = {"num_warmup": num_warmup, "num_samples": num_samples, "num_chains": N_CHAINS}
            kernel = NUTS(_textbook_model, init_strategy=init_to_value(values=start))
            mcmc = MCMC(kernel, **size, chain_method="vectorized", progress_bar=False)
            mcmc.run(jax.random.key(seed), problem, extra_fields=("num_steps", "diverging"))
            sites, extra = jax.device_get((mcmc.get_samples(group_by_chain=True), mcmc.get_extra_fields()))
            seconds = time.perf_counter() - begin
        leapfrogs, divergences = float(extra["num_steps"].mean()), int(extra["diverging"].sum())
        return Run(_whole(sites), seconds, seconds - seconds_compiling(begin), leapfrogs, divergences)

    return run


def _textbook_model(problem: Problem) -> None:
    import numpyro
    import numpyro.distributions as dist

    n_components, n_features = problem.location.shape
    weights = numpyro.sample("weights", dist.Dirichlet(problem.weights))
    with numpyro.plate("component", n_components):
        means = numpyro.sample("means", dist.Normal(problem.location, problem.width).to_event(1))
        variances = numpyro.sample("variances", dist.InverseGamma(problem.shape, problem.rate).to_event(1))
        if n_features > 1:
            factors = numpyro.sample("factors", dist.LKJCholesky(n_features, float(problem.correlations)))
            gaussians = dist.MultivariateNormal(means, scale_tril=variances[..., None] ** 0.5 * factors)
        else:
            gaussians = dist.Normal(means, variances**0.5).to_event(1)
    with numpyro.plate("point", len(problem.x)):
        numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(weights), gaussians), obs=problem.x)


def _whole(sites: dict[str, Any]) -> dict[str, np.ndarray]:
    ones = np.ones((*sites["means"].shape, 1))
    return {name: np.asarray(sites.get(name, ones)) for name in ("weights", "means", "variances", "factors")}


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


def stan(problem: Problem) -> Sampler:
    """PyStan 3; the model is built anew for each seed, outside the clock, for the seed is part of it."""
    from stan import build

    (n_points, n_features), n_components = problem.x.shape, len(problem.weights)
    data = {"N": n_points, "D": n_features, "K": n_components, "x": problem.x}
    data |= {"alpha": problem.weights, "eta": float(problem.correlations)}
    data |= {name: getattr(problem, name) for name in ("location", "width", "shape", "rate")}
    start = {name: value.tolist() for name, value in problem.start.items()}

    def run(seed: int, num_warmup: int, num_samples: int) -> Run:
        with _silence(), TemporaryDirectory() as folder, contextlib.chdir(folder):  # the build leaves its objects
            posterior = build(STAN, data=data, random_seed=seed + 1)
            begin = time.perf_counter()
            size = {"num_chains": N_CHAINS, "num_warmup": num_warmup, "num_samples": num_samples}
            found = posterior.sample(**size, init=[start] * N_CHAINS)
            seconds = time.perf_counter() - begin
        # A parameter comes with its draws last, and of these the chain changes fastest.
        sites = {name: np.moveaxis(_by_chain(found[name]), (-1, -2), (0, 1)) for name in start}
        return Run(sites, seconds, seconds, found["n_leapfrog__"].mean(), int(found["divergent__"].sum()))

    return run


def _by_chain(draws: np.ndarray) -> np.ndarray:
    return draws.reshape(*draws.shape[:-1], -1, N_CHAINS)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Neither Python nor the C++ compiler, a process of its own, writes to the terminal."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    with open(os.devnull, "w") as nowhere:
        for descriptor in (1, 2):
            os.dup2(nowhere.fileno(), descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, old in zip((1, 2), kept, strict=True):
            os.dup2(old, descriptor)
            os.close(old)


def pymc_nutpie(problem: Problem) -> Sampler:
    """PyMC's model compiled and sampled by nutpie with its own defaults; chains share the cores that there are."""
    import nutpie

    compiled = nutpie.compile_pymc_model(_pymc_model(problem))

    def run(seed: int, num_warmup: int, num_samples: int) -> Run:
        begin = time.perf_counter()
        size = {"draws": num_samples, "tune": num_warmup, "chains": N_CHAINS}
        found = nutpie.sample(compiled, **size, seed=seed, progress_bar=False)
        seconds = time.perf_counter() - begin
        sites = {name: values.values for name, values in found["posterior"].to_dataset().data_vars.items()}
        sites["factors"] = np.stack([sites[f"factor_{k}"] for k in range(len(problem.weights))], 2)
        stats = found["sample_stats"]
        return Run(_whole(sites), seconds, seconds, float(stats["n_steps"].mean()), int(stats["diverging"].sum()))

    return run


def _pymc_model(problem: Problem) -> Any:
    import pymc as pm

    eta, n_features = float(problem.correlations), problem.x.shape[1]
    with pm.Model() as model:
        weights = pm.Dirichlet("weights", problem.weights, initval=problem.start_weights)
        means = pm.Normal("means", problem.location, problem.width, initval=problem.start_means)
        variances = pm.InverseGamma("variances", problem.shape, problem.rate, initval=problem.start_variances)
        gaussians = []
        for k, factor in enumerate(problem.start_factors):
            tril = pm.LKJCorr(f"factor_{k}", n=n_features, eta=eta, initval=factor)
            gaussians.append(pm.MvNormal.dist(means[k], chol=variances[k][:, None] ** 0.5 * tril))
        pm.Mixture("x", w=weights, comp_dists=gaussians, observed=problem.x)
    return model


PEERS = {"NumPyro": textbook, "PyStan": stan, "PyMC + nutpie": pymc_nutpie}
"""How each peer is prepared."""
