"""One EM iteration in the programs compared, from the same start: this package, scikit-learn, gmmx, pomegranate.

The time of an iteration is the difference between a long and a short run, so that set-up, compilation and the final
pass do not count. Each program's long run takes about as many seconds as it is told, however fast an iteration is.
scikit-learn, pomegranate and we compute in float64; gmmx takes nothing but float32.
"""

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from measuring import OURS, Skipped, attempt, installed, seconds, take_turns

import bayes_gmm as bg

type Shape = tuple[int, int, int]
"""Points, features, components."""

type Program = Callable[[np.ndarray, bg.Mixture, int], tuple[float, int]]
"""Log-likelihood after at most so many steps, and how many they were."""

SHORT, FEW, MOST = 2, 3, 2000
"""Steps of the short run; additional steps of the long run, at least and at most."""

PEER_SECONDS, SLOW = 25.0, 4.0
"""A peer takes as many turns at one shape as fit into this time; one turn of few steps if its short run is slow."""


def simulate(n_points: int, n_features: int, n_components: int) -> tuple[np.ndarray, bg.Mixture]:
    """Draw overlapping clusters and a start from which EM needs many iterations."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(n_components, n_features)) / np.sqrt(n_features)
    roots = rng.normal(size=(n_components, n_features, n_features)) * 0.2 / np.sqrt(n_features) + np.eye(n_features)
    labels = rng.integers(n_components, size=n_points)
    x = rng.normal(size=(n_points, n_features))
    for k in range(n_components):
        x[labels == k] = means[k] + x[labels == k] @ roots[k].T
    identity = np.tile(np.eye(n_features), (n_components, 1, 1))
    return x, bg.Mixture.from_moments(np.full(n_components, 1 / n_components), 2 * means, identity)


def run_ours(x: np.ndarray, start: bg.Mixture, n_steps: int) -> tuple[float, int]:
    """Plain EM: without long steps, which no peer makes."""
    fit = bg.fit_em(x, start.n_components, start=start, tol=0.0, max_steps=n_steps, accelerate=False)
    return fit.log_likelihood, fit.n_steps


def run_scikit_learn(x: np.ndarray, start: bg.Mixture, n_steps: int) -> tuple[float, int]:
    """The same by scikit-learn; its own start is computed too, in both the short and the long run."""
    from sklearn.mixture import GaussianMixture

    peer = GaussianMixture(
        start.n_components,
        init_params="random_from_data",
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
        tol=0.0,
        reg_covar=0.0,
        max_iter=n_steps,
        random_state=0,
    ).fit(x)
    return float(peer.score(x)) * len(x), peer.n_iter_


def run_gmmx(x: np.ndarray, start: bg.Mixture, n_steps: int) -> tuple[float, int]:
    """The same by gmmx, which compiles for each number of steps."""
    import gmmx
    import jax.numpy as jnp

    moments = {name: jnp.asarray(getattr(start, name), jnp.float32) for name in ("weights", "means", "covariances")}
    model = gmmx.GaussianMixtureModelJax.from_squeezed(**moments)
    points = jnp.asarray(x, jnp.float32)
    result = gmmx.EMFitter(max_iter=n_steps, tol=0.0, reg_covar=0.0).fit(x=points, gmm=model)
    return float(np.asarray(result.gmm.score_samples(points), float).sum()), int(result.n_iter)


def run_pomegranate(x: np.ndarray, start: bg.Mixture, n_steps: int) -> tuple[float, int]:
    """The same by pomegranate on PyTorch's processor threads."""
    import torch
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    moments = zip(torch.tensor(start.means), torch.tensor(start.covariances), strict=True)
    normals = [Normal(mean, covariance) for mean, covariance in moments]
    points, priors = torch.tensor(x), torch.tensor(start.weights)
    model = GeneralMixtureModel(normals, priors=priors, max_iter=n_steps, tol=-math.inf).fit(points)
    return float(model.log_probability(points).sum()), n_steps


PROGRAMS: dict[str, Program] = {
    OURS: run_ours,
    "scikit-learn": run_scikit_learn,
    "gmmx": run_gmmx,
    "pomegranate": run_pomegranate,
}

TOLERANCE = dict.fromkeys(PROGRAMS, 1e-9) | {"gmmx": 1e-5, "pomegranate": 1e-6}
"""Relative difference of the log-likelihoods after five steps, above which two programs do not do the same. gmmx
computes in float32; pomegranate's sums agree with nobody's to more than eight digits."""


def marginal_milliseconds(program: Callable[[int], tuple[float, int]], more: int) -> float:
    """Time of one more step; measured anew, ten times at most, where the machine hid the difference."""
    for _ in range(10):
        elapsed, steps = [], []
        for n_steps in (SHORT, SHORT + more):
            begin = time.perf_counter()
            steps.append(program(n_steps)[1])
            elapsed.append(time.perf_counter() - begin)
        if elapsed[1] > elapsed[0] and steps[1] > steps[0]:
            return 1e3 * (elapsed[1] - elapsed[0]) / (steps[1] - steps[0])
    raise RuntimeError(f"the long run was no longer than the short one: {steps} steps in {elapsed} s")


def prepared(program: Callable[[int], tuple[float, int]], long_run: float) -> tuple[int, float]:
    """How many more steps the long run makes, and the seconds of a turn; compiles what a turn needs."""
    program(SHORT)
    short = seconds(lambda: program(SHORT))
    if short > SLOW:
        return FEW, (2 + FEW / SHORT) * short
    short, more, longer = min(short, seconds(lambda: program(SHORT))), FEW, 0.0
    while longer < min(long_run, 0.1) and more <= MOST // 4:
        more *= 2
        program(SHORT + more)
        longer = min(seconds(lambda more=more: program(SHORT + more)) for _ in range(2)) - short
    more = min(max(math.ceil(long_run * more / max(longer, 1e-3)), FEW), MOST)
    program(SHORT + more)
    return more, seconds(lambda: marginal_milliseconds(program, more))


def turns(shape: Shape, names: list[str], repeats: int, long_run: float, skipped: Skipped) -> dict[str, list[float]]:
    """Milliseconds of a step, turn by turn, of those programs that reach our log-likelihood."""
    x, start = simulate(*shape)
    case = label(shape)
    programs, times, ready = {}, {}, {}
    for name in installed([name for name in names if name != OURS], skipped):
        programs[name] = partial(PROGRAMS[name], x, start)
    programs = {OURS: partial(run_ours, x, start)} | programs
    expected = programs[OURS](5)[0]
    for name, program in programs.items():
        if attempt(name, case, partial(agree, program, expected, TOLERANCE[name]), skipped):
            if plan := attempt(name, case, partial(prepared, program, long_run), skipped):
                ready[name] = lambda _, program=program, more=plan[0]: marginal_milliseconds(program, more)
                affordable = repeats if name == OURS else int(PEER_SECONDS / plan[1])
                times[name] = min(max(affordable, 1), repeats)
    return take_turns(ready, times, case, skipped)


def agree(program: Callable[[int], tuple[float, int]], expected: float, tolerance: float) -> bool:
    """Fails where five steps of a program lead elsewhere than ours."""
    value = program(5)[0]
    if not abs(value / expected - 1) <= tolerance:
        raise ArithmeticError(f"another log-likelihood after five steps: {value:.9g}, ours {expected:.9g}")
    return True


def label(shape: Shape) -> str:
    """The shape as it is written in tables."""
    return ", ".join(f"{number:,}".replace(",", " ") for number in shape)
