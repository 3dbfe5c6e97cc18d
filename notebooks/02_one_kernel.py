# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. One kernel: EM and NUTS from the same function
#
# EM and Hamiltonian Monte Carlo are taught in different courses. Here they are two users of one function of twelve
# numbers. Nothing in this notebook is needed to use the package; it is for those who want to see why it is small and
# fast.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import bayes_gmm as bg
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.moments import moments_of

jax.config.update("jax_enable_x64", True)  # for our own JAX code below; the package sees to itself

x = bg.datasets.load("faithful")
mle = bg.fit_em(x, n_components=2)

# %% [markdown]
# ## A Gaussian's log density is linear
#
# Expand the square in $\log \pi_k + \log N(x \mid \mu_k, \Sigma_k)$ and collect what multiplies the constant, $x$ and
# $x x^\top$. With the features $\phi(x) = [1, x, \mathrm{vech}(x x^\top)]$ it is
#
# $$\log p(x_n, z_n = k) = \eta_k^\top \phi(x_n),$$
#
# where $\eta_k$ holds the natural parameters: everything that is not data. For $D = 2$ there are $F = 1 + 2 + 3 = 6$
# features, and for $K = 2$ components one matrix product evaluates all the data under all components.

# %%
phi = linear_form.features(jnp.asarray(x.values.T))  # (F, N)
eta = linear_form.natural(mle.mixture)  # (K, F)

assert phi.shape == (6, 272)
assert eta.shape == (2, 6)
np.testing.assert_allclose((eta @ phi).T, mle.mixture.log_joint(x.values), atol=1e-8)

# %% [markdown]
# ## The whole likelihood is one line, and its gradient is the E-step
#
# $$\ell(\eta) = \sum_n \log \sum_k \exp\big(\eta_k^\top \phi(x_n)\big), \qquad
# \frac{\partial \ell}{\partial \eta_k} = \sum_n r_{nk} \, \phi(x_n), \qquad r_{nk} = p(z_n = k \mid x_n).$$
#
# The derivative of a log-sum-exp is a softmax, and that softmax is the responsibilities (Fisher's identity). Ask JAX
# for the gradient, and it does an E-step without being told what that is:

# %%


def log_likelihood(eta):
    """Sum over the points of log p(x)."""
    return jax.nn.logsumexp(eta @ phi, axis=0).sum()


gradient = jax.grad(log_likelihood)(eta)
responsibilities = mle.mixture.responsibilities(x.values)  # (N, K)

np.testing.assert_allclose(log_likelihood(eta), mle.log_likelihood, atol=1e-8)
np.testing.assert_allclose(gradient, responsibilities.T @ phi.T, rtol=1e-9)

# %% [markdown]
# ## EM: that gradient, and a small M-step
#
# Row $k$ of the gradient is the expected count, sum and sum of squares of component $k$. Counts, means and covariances
# follow by division, and these are the next parameters. That is all of EM:

# %%
start = bg.Mixture.from_moments([0.5, 0.5], [[3.0, 60.0], [4.0, 80.0]], [np.cov(x.values.T)] * 2)


def m_step(statistics):
    """Natural parameters of the mixture that has these expected statistics."""
    counts, means, covariances = moments_of(statistics, x.n_features)
    return linear_form.natural(bg.Mixture.from_moments(counts / counts.sum(), means, covariances))


eta, path = linear_form.natural(start), []
for _ in range(30):
    value, statistics = jax.value_and_grad(log_likelihood)(eta)
    eta = m_step(statistics)
    path.append(float(value))

print(f"start {path[0]:.3f}, after 5 steps {path[5]:.3f}, after 29 {path[29]:.6f}")

# %% [markdown]
# It never falls, and ends where `fit_em` ends. (The package adds what one needs in practice: many starts, standardised
# coordinates, blocks that fit the processor's cache, long steps where EM crawls, and an honest end.)

# %%
assert np.all(np.diff(path) > -1e-9)
np.testing.assert_allclose(path[-1], mle.log_likelihood, atol=1e-6)

# %% [markdown]
# ## NUTS: the same function again
#
# The log posterior is $\ell(\eta(\theta)) + \log p(\theta)$, and NUTS walks along its gradient. So the log-likelihood
# of each draw, which the sampler keeps, is our one-line function at that draw, all four thousand of them:

# %%
posterior = bg.fit_nuts(x, n_components=2, start=mle, progress=False)
ours = posterior.map(lambda mixture: log_likelihood(linear_form.natural(mixture)))  # (chain, draw)

np.testing.assert_allclose(ours, posterior.tree["invariants"]["log_likelihood"], atol=1e-6)

# %% [markdown]
# Seen from above, the maximum-likelihood fit is the top of this function and the posterior is what lies just below it:
# $2\,[\ell(\hat\eta) - \ell]$ of the draws is spread roughly like $\chi^2$ with 11 degrees of freedom, one for each
# free parameter. The draws are on average eleven, the square root of 22 up or down, below the top, and never at it.

# %%
deviance = 2 * (mle.log_likelihood - np.asarray(ours)).ravel()

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
grid = np.linspace(0.01, 35, 200)
log_chi2 = (mle.n_parameters / 2 - 1) * np.log(grid) - grid / 2
ax.hist(deviance, bins=50, density=True, color="0.85", label="4000 draws")
chi2 = np.exp(log_chi2)
ax.plot(grid, chi2 / (chi2.sum() * (grid[1] - grid[0])), label="chi-squared, 11 degrees of freedom")
ax.set(xlabel="twice the distance from the top, in nats", ylabel="density", xlim=(0, 35))
legend = ax.legend(frameon=False)

assert mle.n_parameters == 11
assert deviance.min() > 0
assert abs(deviance.mean() - 11) < 1
assert abs(deviance.std() - np.sqrt(22)) < 0.7

# %% [markdown]
# ## k-means is a limit
#
# Give all components one covariance $\sigma^2 I$ and equal weights, and let $\sigma \to 0$: the nearest centre takes
# the whole point, and EM becomes Lloyd's algorithm. Here is Lloyd's algorithm:

# %%
z = (x.values - x.values.mean(0)) / x.values.std(0)


def lloyd(centers, n_steps=100):
    """K-means: assign each point to the nearest centre, move each centre to the mean of its points."""
    for _ in range(n_steps):
        labels = ((z[:, None] - centers) ** 2).sum(-1).argmin(1)
        centers = np.array([z[labels == k].mean(0) for k in range(len(centers))])
    return centers


first = np.array([[-1.0, -1.0], [0.5, 0.0], [0.5, 1.5]])
centers = lloyd(first)
centers

# %% [markdown]
# `assignment="hard"` is exactly that: classification EM. And with soft assignments and a held $\sigma$ we can watch the
# limit being reached.

# %%
labels = ((z[:, None] - first) ** 2).sum(-1).argmin(1)
hard = bg.fit_em(z, 3, assignment="hard", covariance_type="EII", fixed={"weights": "equal"}, start=labels)

distance, softness = [], []
widths = [0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05]
for width in widths:
    held = {"weights": "equal", "covariances": np.stack([width**2 * np.eye(2)] * 3)}
    fit = bg.fit_em(z, 3, fixed=held, start=labels)
    order = np.argsort(fit.mixture.means[:, 0])
    distance.append(np.abs(fit.mixture.means[order] - centers[np.argsort(centers[:, 0])]).max())
    softness.append(1 - fit.responsibilities().max(1).mean())

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.loglog(widths, distance, "o-", label="largest distance of a mean from k-means' centre")
ax.loglog(widths, softness, "s-", label="mean doubt, $1 - \\max_k r_{nk}$")
ax.set_xticks(widths, [f"{width:g}" for width in widths])
ax.minorticks_off()
ax.set_xlabel("held standard deviation $\\sigma$ (data standardised)")
legend = ax.legend(frameon=False)

# %% [markdown]
# The hard fit has the same centres as Lloyd's algorithm, to rounding. The soft ones approach them: at $\sigma = 0.05$
# they are within a hundredth of a standard deviation, and nearly no doubt is left.
#
# So k-means is a Gaussian mixture that was told, before seeing the data, that clusters are round, equally large,
# equally frequent, and infinitely narrow. Where you would not say that yourself, do not let it be said for you.

# %%
np.testing.assert_allclose(np.sort(hard.mixture.means, 0), np.sort(centers, 0), atol=1e-10)
assert distance[-1] < 0.01
assert distance[-1] < distance[0] / 5
assert softness[-1] < 0.001
assert np.all(np.diff(softness) < 0)

# %% [markdown]
# ## EM against gradient ascent
#
# If the gradient is the E-step, why not simply climb it? `fit_gradient` does: L-BFGS with a line search on all data, or
# Adam on minibatches, from the same start. We count passes over the data, since that is where the time goes. First Old
# Faithful, then two thousand points from two components so close that they form a single hump.

# %%
truth = bg.Mixture.from_moments([0.4, 0.6], [[0.0, 0.0], [1.5, 0.0]], [np.eye(2), np.eye(2)])
overlapping, _ = truth.sample(2000, seed=1)


def race(x, start):
    """Passes over the data and log-likelihood after each, by method."""
    plain = bg.fit_em(x, 2, start=start, accelerate=False, max_steps=10_000)
    long_steps = bg.fit_em(x, 2, start=start, max_steps=10_000)
    lbfgs = bg.fit_gradient(x, 2, start=start)
    adam = bg.fit_gradient(x, 2, start=start, method="adam", max_steps=1500 * -(-len(x) // 256))  # 1500 passes
    runs = {"EM": plain, "EM with long steps": long_steps}
    paths = {name: (np.arange(len(fit.path)) + 1, fit.path) for name, fit in runs.items()}
    return paths | {"L-BFGS": (lbfgs.passes, lbfgs.path), "Adam": (adam.passes, adam.path)}


races = {"Old Faithful": race(x, start), "two overlapping components": race(overlapping, truth)}

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
for ax, (title, paths) in zip(axes, races.items(), strict=True):
    best = max(path.max() for _, path in paths.values())
    for name, (passes, path) in paths.items():
        style = {"linewidth": 3.5, "alpha": 0.5} if name == "EM" else {}
        ax.loglog(np.maximum(passes, 1), np.maximum(best - path, 1e-9), label=name, **style)
    ax.set(xlabel="passes over the data", title=title)
    ax.grid(color="0.93")
axes[0].set_ylabel("nats below the best")
legend = axes[0].legend(frameon=False, fontsize=8)


# %%
def passes_to(paths, gap=1e-3):
    """Passes until a method is within `gap` nats of the best, infinite if it never is."""
    best = max(path.max() for _, path in paths.values())
    return {
        name: float(passes[np.argmax(best - path < gap)]) if (best - path < gap).any() else np.inf
        for name, (passes, path) in paths.items()
    }


for title, paths in races.items():
    print(title, {name: round(count) if np.isfinite(count) else "never" for name, count in passes_to(paths).items()})

# %% [markdown]
# Where the components are apart, EM is done first: its M-step is an exact maximisation that knows all scales, and it
# has no step size to choose. Where they overlap, plain EM needs thousands of passes; its steps shrink with the share of
# information that the labels hide. Long steps (the default of `fit_em`) cut that by more than five, and L-BFGS by far
# more. Adam, made for other problems, is not within a thousandth of a nat after 1500 passes, in either race.
#
# So why is EM the default? Because a step of it cannot fall and a structure, a held parameter, a weight or a known
# label costs it nothing; and because from many starts on well separated data, it is the one that gets there first.

# %%
apart, close = (passes_to(paths) for paths in races.values())
assert apart["EM"] < apart["L-BFGS"]
assert close["EM"] > 1000
assert close["EM with long steps"] < close["EM"] / 5
assert close["L-BFGS"] < close["EM with long steps"]
assert np.isinf([apart["Adam"], close["Adam"]]).all()

# %% [markdown]
# Next: [why component 0 has no name, and what to trust instead](03_label_switching.ipynb).
