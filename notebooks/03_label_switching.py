# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. Label switching: component 0 has no name
#
# Swap the names of two components and nothing that can be observed changes. So a mixture of $K$ Gaussians has $K!$
# equivalent solutions, and a sampler that does its work visits more than one of them. This notebook shows what that
# does to your draws, what relabelling repairs, what it cannot repair, and which numbers never needed it.

# %%
from itertools import permutations

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import bayes_gmm as bg


def largest_rhat(values):
    """Largest R-hat over the last axis of values (chain, draw, quantity)."""
    dataset = xr.Dataset({"values": (("chain", "draw", "quantity"), values)})
    return float(az.rhat(dataset)["values"].max())


# %% [markdown]
# ## The same height, $K!$ times
#
# The velocities of 82 galaxies, four components: $4! = 24$ orders of the components, one likelihood.

# %%
galaxies = bg.datasets.load("galaxies")
mle = bg.fit_em(galaxies, n_components=4)

heights = [mle.mixture.permute(order).log_prob(galaxies.values).sum() for order in permutations(range(4))]
assert len(heights) == 24
np.testing.assert_allclose(heights, mle.log_likelihood, atol=1e-9)

# %% [markdown]
# ## A chain that switches
#
# Two components of equal width, 2.5 standard deviations apart: close enough for NUTS to walk from one labelling to the
# other now and then. Above, the means of the two components as they were sampled, chain after chain; below, the same
# draws after relabelling.

# %%
pair = bg.Mixture.from_moments([0.5, 0.5], [[0.0], [2.5]], [[[1.0]], [[1.0]]])
close, _ = pair.sample(120, seed=1)
posterior = bg.fit_nuts(close, 2, covariance_type="tied", num_samples=2000, progress=False)
axes = bg.plot_relabelling(posterior)

# %%
as_sampled = posterior.draws_as_sampled.means[..., 0]  # (chain, draw, component)
relabelled = posterior.draws.means[..., 0]
for name, means in {"as sampled": as_sampled, "relabelled": relabelled}.items():
    print(f"{name}: posterior means {means.mean((0, 1)).round(2)}, largest R-hat {largest_rhat(means):.3f}")

# %% [markdown]
# As sampled, "the mean of component 0" is an average over draws in which component 0 is the left one and draws in which
# it is the right one. In the limit of infinitely many draws both components have the same posterior mean, namely a
# number that describes neither. Relabelled, the components stand where the data have them, 2.5 apart.

# %%
assert posterior.verdict.status.name != "BAD"
assert largest_rhat(as_sampled) > 1.05
assert largest_rhat(relabelled) < 1.02
assert abs(relabelled[..., 1].mean() - relabelled[..., 0].mean() - 2.5) < 0.4
assert np.diff(as_sampled.mean((0, 1)))[0] < np.diff(relabelled.mean((0, 1)))[0]

# %% [markdown]
# ## What relabelling does
#
# Each draw says how it shares the points out: its responsibilities $r^{(s)}_{nk}$. The relabelling gives the components
# of each draw the names under which they agree best with a pivot $g$, the mode of the posterior under the labels of the
# EM fit:
#
# $$\rho_s = \arg\max_\rho \sum_k \sum_n g_{nk} \, r^{(s)}_{n \rho(k)}.$$
#
# It only permutes: no draw is changed otherwise, and the permutations are kept, so that it can be undone. What does not
# depend on names, such as the density, is untouched.

# %%
orders = posterior.relabelling.permutations  # (chain, draw, K)
grid = np.linspace(-3, 6, 50)[:, None]

assert set(map(tuple, orders.reshape(-1, 2))) == {(0, 1), (1, 0)}
np.testing.assert_array_equal(np.take_along_axis(as_sampled, orders, -1), relabelled)
np.testing.assert_allclose(posterior.draws.log_prob(grid), posterior.draws_as_sampled.log_prob(grid), atol=1e-9)

# %% [markdown]
# ## Why not simply put the means in order?
#
# The textbook remedy is a constraint, $\mu_0 < \mu_1$. It has no meaning in more than one dimension, and in one it can
# create a problem where there is none. Take measurements of one quantity by a precise and by a sloppy instrument: the
# same mean, standard deviations 1 and 5. The components could not be easier to tell apart, just not by their means.

# %%
instruments = bg.Mixture.from_moments([0.5, 0.5], [[10.0], [10.0]], [[[1.0]], [[25.0]]])
measured, _ = instruments.sample(300, seed=1)
two = bg.fit_nuts(measured, 2, progress=False)

by_points = two.draws.scales[..., 0]
order = np.argsort(two.draws.means[..., 0], axis=-1)
by_means = np.take_along_axis(by_points, order, -1)

fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharex=True, sharey=True, layout="constrained")
for ax, scales, title in zip(
    axes, (by_points, by_means), ("named by their points", "ordered by their means"), strict=True
):
    for k in range(2):
        ax.hist(scales[..., k].ravel(), bins=np.linspace(0, 6.5, 80), alpha=0.6, label=f"component {k}")
    ax.set(title=title, xlabel="standard deviation", yticks=[])
legend = axes[0].legend(frameon=False)

# %% [markdown]
# Named by the points they hold, the two instruments have standard deviations near 1 and 5, known to within a tenth or
# so. Ordered by their means, a quarter of the draws have the names the wrong way round; each "component" is now a blend
# of both, with a posterior sd more than four times as large, and a posterior mean where there is no draw at all.

# %%
assert two.verdict.status.name == "GOOD"
np.testing.assert_allclose(np.sort(by_points.mean((0, 1))), [1, 5], rtol=0.15)
assert np.all(by_points.std((0, 1)) / by_points.mean((0, 1)) < 0.12)
wrong = (order[..., 0] == by_points.mean((0, 1)).argmax()).mean()
wrong = min(wrong, 1 - wrong)
assert 0.2 < wrong < 0.35
assert np.all(by_means.std((0, 1)) > 4 * by_points.std((0, 1)))
assert not np.any(np.abs(by_means.ravel() - by_means[..., 0].mean()) < 0.05)

# %% [markdown]
# ## What relabelling cannot repair
#
# Back to the galaxies. Four components are more than the data ask for, and in some draws one of them is simply not the
# component that the pivot has under that name: it went elsewhere. No permutation helps, and the package says so.

# %%
four = bg.fit_nuts(galaxies, 4, start=mle, progress=False)
four.verdict

# %%
axes = bg.plot_relabelling(four)

# %%
ambiguous = four.relabelling.ambiguous
ambiguous.round(3)

# %% [markdown]
# `ambiguous` is, for each component, the share of draws in which it holds less than half of the points that it holds in
# the pivot. The first and the last of the four are beyond doubt: a group of slow galaxies and a few fast ones. Of the
# two in the middle, which overlap, one is somebody else in a third of the draws. Its "posterior mean" would
# be a mean over different stories.

# %%
assert ambiguous[[0, 3]].max() < 0.02
assert 0.25 < ambiguous.max() < 0.45
assert ambiguous.argmax() in (1, 2)
assert any("holds less than half of the points" in reason for reason in four.verdict.reasons)
assert four.verdict.sampling.name == "GOOD"

# %% [markdown]
# ## What to trust instead
#
# Some quantities have no labels, and the verdict looks at them first: the density at probe points, the mean and
# covariance of the whole mixture, the sorted weights, the log-likelihood, and whether two points belong together. For
# these the chains agree, whatever the components do:

# %%
assert four.verdict.max_rhat["invariants"] < 1.02
ax = bg.plot_density(four)

# %% [markdown]
# Co-clustering asks for each pair of galaxies how probable it is that they come from the same component,
#
# $$P(z_n = z_m \mid x) = \frac{1}{S} \sum_s \sum_k r^{(s)}_{nk} \, r^{(s)}_{mk},$$
#
# a question that all 24 labellings answer alike. Blocks are clusters that the data insist on; a shaded block is one
# that they do not.

# %%
ax = bg.plot_coclustering(four)

# %%
r = four.draws_as_sampled.responsibilities(galaxies.values).reshape(-1, 82, 4)
together = np.einsum("snk,smk->nm", r, r) / len(r)

renamed = four.draws.responsibilities(galaxies.values).reshape(-1, 82, 4)
np.testing.assert_allclose(together, np.einsum("snk,smk->nm", renamed, renamed) / len(r), atol=1e-9)

velocity = galaxies.values[:, 0]
slow, core, upper = velocity < 11, (velocity > 19.3) & (velocity < 20.2), (velocity > 22.5) & (velocity < 25)
groups = {"slow": slow, "near 20": core, "near 24": upper}
for first, second in [("slow", "slow"), ("slow", "near 20"), ("near 20", "near 20"), ("near 20", "near 24")]:
    print(f"{first:>7} with {second:7} {together[np.ix_(groups[first], groups[second])].mean():.2f}")

# %% [markdown]
# The seven slow galaxies belong together, and not to the others, in practically every draw. In the middle the data have
# no firm opinion: a galaxy near 20 and one near 24 thousand km/s share a component with a probability of more than a
# third, and even two near 20 are far from certain to. That is the honest answer of four components, and no point
# estimate gives it.

# %%
assert slow.sum() == 7
assert together[np.ix_(slow, slow)].min() > 0.95
assert together[np.ix_(slow, core)].max() < 0.05
assert 0.25 < together[np.ix_(core, upper)].mean() < 0.5
assert 0.45 < together[np.ix_(core, core)].mean() < 0.75

# %% [markdown]
# ## What to remember
#
# - The labels are yours, not the data's. Relabelling picks names so that sentences about "component 1" mean something.
# - Read `ambiguous` (the verdict does) before you believe such a sentence.
# - Densities, predictions and co-clustering need no names, and survive too many components.
# - Ordering the means is not a remedy. It can break a posterior that was fine.
#
# Next: [how many components?](04_how_many_components.ipynb)
