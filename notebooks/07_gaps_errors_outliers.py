# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7. Gaps, error bars and outliers
#
# Tables are seldom as clean as a model of them. Cells are missing, values come with error bars, and a few rows belong
# to nothing at all. None of this changes the idea of a mixture; it changes the likelihood of a row. Each section breaks
# the plain fit on data whose truth is known, and then asks the right likelihood.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np

import bayes_gmm as bg

# %% [markdown]
# ## Gaps: a scale that fails for large birds
#
# The penguins of the Palmer archipelago, 342 birds and four measurements. Suppose that the scale was too small: of the
# birds with the longest flippers most were not weighed.

# %%
penguins = bg.datasets.load("penguins")
flipper, mass = penguins.columns.index("flipper_length_mm"), penguins.columns.index("body_mass_g")
rng = np.random.default_rng(7)

holes = penguins.values.copy()
not_weighed = (holes[:, flipper] > 215) & (rng.random(len(holes)) < 0.8)
holes[not_weighed, mass] = np.nan
x = bg.Table(holes, penguins.columns)
print(f"{not_weighed.sum()} of {len(holes)} birds were not weighed")

# %% [markdown]
# Whether a cell is missing depends here on a cell that was seen, the flipper. That is called *missing at random*, and
# then the likelihood of what was seen is all that is needed: each row has the density of its own seen cells,
#
# $$\ell(\theta) = \sum_n \log \sum_k \pi_k \, N(x_{n,o_n} \mid \mu_{k,o_n}, \Sigma_{k,o_n o_n}).$$
#
# A NaN, an empty cell of a file, or an NA of a data frame is such a cell. Nothing has to be asked for.

# %%
seen = bg.fit_em(x, n_components=3)
dropped = bg.fit_em(x, n_components=3, missing="drop")
complete = bg.fit_em(penguins, n_components=3)
print(seen)

# %% [markdown]
# Leaving out the rows with gaps leaves out large birds, and so the mean of the largest kind is that of its light
# members. With the gaps kept, the other three measurements of a bird say what it probably weighed.

# %%
heaviest = {"all weighed": complete, "gaps kept": seen, "rows dropped": dropped}
for name, fit in heaviest.items():
    largest = fit.mixture.means[:, flipper].argmax()
    weight, mean = fit.mixture.weights[largest], fit.mixture.means[largest, mass]
    print(f"{name:13s} weight {weight:.3f}, mean mass {mean:.0f} ± {fit.standard_errors['means'][largest, mass]:.0f} g")

# %%
mean_mass = {name: fit.mixture.means[fit.mixture.means[:, flipper].argmax(), mass] for name, fit in heaviest.items()}
assert abs(mean_mass["gaps kept"] - mean_mass["all weighed"]) < abs(
    mean_mass["rows dropped"] - mean_mass["all weighed"]
)

# %% [markdown]
# How much does it matter? `parameter_shifts` sets a fit beside the plain one of the complete rows, in standard errors.

# %%
bg.parameter_shifts(seen)

# %% [markdown]
# What the missing masses may have been is a distribution for each bird. A bar is its mean with one sd to each side.

# %%
axes = bg.plot_imputed(seen)

# %%
guess = seen.completed()
offsets = (penguins.values - guess.mean)[not_weighed, mass]
within = np.abs(offsets) < 1.645 * guess.sd[not_weighed, mass]
print(f"off by {np.sqrt((offsets**2).mean()):.0f} g, within the 90% interval: {within.mean():.0%}")
assert 0.75 < within.mean() < 1

# %% [markdown]
# `fit_nuts(x, 3).impute(num=20)` draws whole completed tables from the posterior, for programs that know no gaps.
#
# ## Error bars: deconvolution
#
# Two kinds of stars with known means and covariances, observed with errors that differ from row to row. What the plain
# fit finds are the clouds of *observed* values, which are wider than the kinds are.

# %%
truth = bg.Mixture.from_moments(
    [0.4, 0.6],
    [[0.0, 0.0], [3.0, 1.0]],
    [[[0.30, 0.15], [0.15, 0.20]], [[0.50, -0.30], [-0.30, 0.40]]],
)
stars, _ = truth.sample(250, seed=11)
errors = np.random.default_rng(12).uniform(0.2, 1.2, size=stars.shape)
observed = stars + errors * np.random.default_rng(13).normal(size=stars.shape)

plain = bg.fit_em(observed, n_components=2)
deconvolved = bg.fit_em(observed, n_components=2, errors=errors)
for name, fit in {"truth": truth, "plain": plain.mixture, "with errors": deconvolved.mixture}.items():
    print(f"{name:12s} sds {fit.scales.round(2).tolist()}  correlations {fit.correlations[:, 0, 1].round(2).tolist()}")

# %%
assert np.abs(deconvolved.mixture.scales - truth.scales).max() < np.abs(plain.mixture.scales - truth.scales).min()

# %% [markdown]
# Given the mixture of the true values, each star has a mean and an sd of its own: those with large errors are drawn
# towards their kind, the others stay where they were seen.

# %%
true_rows = deconvolved.denoised()
before, after = (np.sqrt(((rows - stars) ** 2).mean()) for rows in (observed, true_rows.mean))
print(f"distance to the true values: observed {before:.2f}, denoised {after:.2f}")


def draw(ax, mixture, color, label):
    """Two standard deviations around the mean of each component; of a t distribution those of its scatter."""
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = 2 * np.column_stack([np.cos(angle), np.sin(angle)])
    for k in range(mixture.n_components):
        around = mixture.means[k] + circle @ mixture.scale_tril[k].T
        ax.plot(*around.T, color=color, label=label if k == 0 else None)


fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharex=True, sharey=True)
for ax, rows, title in ((left, observed, "observed"), (right, true_rows.mean, "denoised")):
    ax.plot(*rows.T, ".", color="0.6", markersize=3)
    ax.set(title=title, xlabel="first", ylabel="second" if ax is left else "")
    draw(ax, truth, "black", "truth")
    draw(ax, deconvolved.mixture, "C1", "with errors")
    draw(ax, plain.mixture, "C0", "plain")
legend = left.legend(frameon=False)

# %%
assert after < 0.8 * before

# %% [markdown]
# The posterior takes errors as well, and its intervals are those of the true values.

# %%
posterior = bg.fit_nuts(observed, n_components=2, errors=errors, num_samples=500, progress=False)
low, high = np.quantile(posterior.draws.scales, [0.05, 0.95], axis=(0, 1))
print(posterior.verdict)
print("90% intervals of the sds hold", int(((low <= truth.scales) & (truth.scales <= high)).sum()), "of 4")

# %% [markdown]
# ## Outliers
#
# Two clusters, six apart, of 240 and 245 points, and fifteen points from anywhere in a field of 200 by 200.

# %%
rng = np.random.default_rng(27)
clusters = [rng.normal([0, 0], 1, (240, 2)), rng.normal([6, 0], 1, (245, 2))]
dirty = np.concatenate([*clusters, rng.uniform(-100, 100, (15, 2))])

broken = bg.fit_em(dirty, n_components=2)
for doubt in broken.doubts:
    print(doubt)

# %% [markdown]
# Three per cent of the rows cost the plain fit a component: it spends one on them, and both clusters share the other.
# There are two ways out. A *noise component* has one density over the box of the data and belongs to no cluster:

# %%
with_noise = bg.fit_em(dirty, n_components=2, noise=True)
print(with_noise)
print("rows that belong to the noise:", int((with_noise.noise_probability() > 0.5).sum()))
assert broken.doubts
assert 12 <= (with_noise.noise_probability() > 0.5).sum() <= 18

# %% [markdown]
# And a *t distribution* has tails that are heavy enough for a few far points, the heavier the fewer its degrees of
# freedom. They are estimated along with all else; where they run to their bound, the result says that Gaussians would
# do. Scatters are not covariances then: the latter are $\nu / (\nu - 2)$ times as large, where there are any.

# %%
with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", bg.FitWarning
    )  # standard errors of weights on so few degrees of freedom are doubted
    heavy = bg.fit_em(dirty, n_components=2, components="t")
print(heavy)
print("degrees of freedom:", heavy.mixture.degrees_of_freedom.round(2).tolist())

# %%
for name, fit in {"plain": broken, "noise": with_noise, "t": heavy}.items():
    print(f"{name:6s} means {fit.mixture.means.round(2).tolist()}  log-likelihood {fit.log_likelihood:.0f}")

# %%
for fit in (with_noise, heavy):
    assert np.abs(fit.mixture.means - [[0, 0], [6, 0]]).max() < 0.5
assert np.abs(broken.mixture.means - [[0, 0], [6, 0]]).max() > 1

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained", sharex=True, sharey=True)
for ax, (name, fit) in zip(axes, {"plain": broken, "noise": with_noise, "t": heavy}.items(), strict=True):
    ax.plot(*dirty.T, ".", color="0.6", markersize=3)
    draw(ax, fit.mixture, color="C1", label=name)
    ax.set(title=name, xlim=(-8, 14), ylim=(-10, 10))

# %% [markdown]
# How the answer changes against the plain fit is the reason to use either, so the comparison of both answers says it:

# %%
comparison = bg.compare(with_noise, bg.fit_nuts(dirty, n_components=2, noise=True, progress=False))
print(comparison)
