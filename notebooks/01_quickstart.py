# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. Quickstart: the best fit, and how sure it is
#
# Old Faithful erupts for a short or for a long while, and then keeps us waiting for a short or for a long while. We
# have 272 eruptions and believe in two kinds, each a Gaussian:
#
# $$p(x_n) = \sum_{k=1}^{K} \pi_k \, N(x_n \mid \mu_k, \Sigma_k), \qquad K = 2.$$
#
# In five minutes we get the maximum-likelihood fit, the posterior, and the two side by side. Wherever the text claims
# something, the next cell asserts it.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import bayes_gmm as bg

x = bg.datasets.load("faithful")  # or an array, a data frame, bg.read_table("table.csv")
x

# %% [markdown]
# ## The maximum-likelihood fit
#
# EM climbs the likelihood $\log L(\theta) = \sum_n \log p(x_n)$ from many starts at once, and every start reports where
# it ended.

# %%
mle = bg.fit_em(x, n_components=2)
mle

# %% [markdown]
# Three of four starts climbed the same hill. The others were more than 20 nats below when these had arrived: most were
# left behind there, and one had ended. Had we tried that single unlucky start, we would now hold a bad answer without a
# hint that it is one.

# %%
at_best = np.isclose(mle.start_log_likelihoods, mle.log_likelihood, atol=1e-3)
assert mle.status is bg.EMStatus.CONVERGED
ended = mle.start_statuses == bg.EMStatus.CONVERGED
assert at_best.mean() >= 0.75
assert (ended & ~at_best).sum() == 1
assert mle.start_log_likelihoods[~at_best].max() < mle.log_likelihood - 20

# %% [markdown]
# ## The posterior
#
# NUTS draws from $p(\theta \mid x) \propto p(\theta) \prod_n \sum_k \pi_k N(x_n \mid \mu_k, \Sigma_k)$, the labels
# summed out. The default prior takes its scale from the data. The first thing to look at is not a mean but the verdict:

# %%
posterior = bg.fit_nuts(x, n_components=2, start=mle, progress=False)
posterior.verdict

# %% [markdown]
# The verdict is judged twice: on quantities that do not depend on which component is called 0 (the invariants), and on
# the parameters themselves. Both are good, so the numbers below deserve to be read.

# %%
assert posterior.verdict.status.name == "GOOD"
assert posterior.verdict.n_divergent == 0
assert max(posterior.verdict.max_rhat.values()) < 1.01
assert min(posterior.verdict.min_ess.values()) > 400

# %% [markdown]
# ## Side by side

# %%
comparison = bg.compare(mle, posterior)
print(comparison)

# %% [markdown]
# With 272 points and two well separated kinds, both answers agree: of twelve parameters none moves by more than a
# quarter of a posterior sd, and all standard errors are within a tenth of the posterior sds. Nor is it the prior that
# makes them agree: raised to another power it would change nothing that could be noticed. That is worth knowing too.
# The forest shows it at a glance:

# %%
assert all(abs(row.shift) < 0.25 for row in comparison.rows)
assert all(0.9 < row.width_ratio < 1.1 for row in comparison.rows)
assert all(row.prior_sensitivity < 0.05 for row in comparison.rows)
ax = bg.plot_forest(comparison)

# %% [markdown]
# And in the plane of the data. Thin ellipses are draws from the posterior, the dashed ones the maximum-likelihood fit;
# the ringed point is an eruption that neither kind can claim.

# %%
ax = bg.plot_ellipses(posterior, mle=mle)

# %% [markdown]
# ## Points that belong nowhere in particular
#
# Under the point estimate each eruption has one soft assignment $p(z_n = k \mid x_n)$. Under the posterior that
# probability is itself uncertain:

# %%
for point in comparison.uncertain_points:
    record = comparison.records("points")[point]
    print(f"row {point}: {x.values[point]} (eruption and waiting, minutes)")
    print(f"  maximum likelihood: component {record['mle_component']}, probability {record['mle_probability']:.2f}")
    print(f"  posterior:          component {record['component']}, {record['probability']:.2f}", end=" ")
    print(f"with a posterior sd of {record['probability_sd']:.2f}")

# %% [markdown]
# Exactly one eruption has no component with probability 0.9. And its "80 %" is no hard number: in nine of ten draws the
# probability of component 0 lies between 0.30 and 0.97, from less than a toss of a coin to near certainty. It hangs on
# the spreads, and their posterior has a longer tail than a Gaussian, so the mean is a few points lower. The ranking
# shows how quickly doubt fades after it.

# %%
probability = posterior.draws.responsibilities(x.values[[243]])[..., 0, 0]  # (chain, draw)
assert list(comparison.uncertain_points) == [243]
np.testing.assert_allclose(probability.mean(), 0.735, atol=0.02)
np.testing.assert_allclose(np.quantile(probability, [0.05, 0.95]), [0.30, 0.97], atol=0.04)
ax = bg.plot_uncertainty(posterior, n_points=20)

# %% [markdown]
# ## The density, with its band
#
# `posterior.density(grid)` is the density $p(x)$ averaged over the posterior, with a credible interval at each point of
# the grid. For the waiting time alone:

# %%
ax = bg.plot_density(posterior, mle=mle, features="waiting")

# %% [markdown]
# ## A question of your own
#
# Any function of the mixture has a posterior. How long do we wait after an eruption of $d$ minutes? Every draw answers
# by its own regression $E[\text{waiting} \mid \text{eruption} = d]$, a smooth curve that bends from one kind to the
# other.

# %%
duration = np.linspace(1.5, 5.2, 60)
expected = posterior.draws.condition([0], duration[:, None]).mean[..., 0]  # (chain, draw, duration)
lower, upper = np.quantile(expected, [0.03, 0.97], axis=(0, 1))

fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.scatter(*x.values.T, s=6, color="0.6")
ax.fill_between(duration, lower, upper, alpha=0.3)
ax.plot(duration, expected.mean((0, 1)))
ax.set(xlabel="eruption [min]", ylabel="waiting [min]", title="expected waiting time, 94% band")
ax.title.set_size(10)

# %% [markdown]
# The band is narrow where there are eruptions and wide in the gap near three minutes, where the two kinds compete for
# the answer: there it is more than three times as wide as at two or at four and a half minutes.

# %%
width_at = dict(zip([2.0, 3.0, 4.5], np.interp([2.0, 3.0, 4.5], duration, upper - lower), strict=True))
assert width_at[3.0] > 3 * width_at[2.0]
assert width_at[3.0] > 3 * width_at[4.5]

# %% [markdown]
# ## With thirty eruptions
#
# Would it have mattered with less data? We keep the first thirty rows.

# %%
few = replace(x, values=x.values[:30], name="the first thirty")
mle_of_few = bg.fit_em(few, n_components=2)
posterior_of_few = bg.fit_nuts(few, n_components=2, start=mle_of_few, progress=False)
comparison_of_few = bg.compare(mle_of_few, posterior_of_few)
print(*comparison_of_few.hidden(), sep="\n")

# %%
ax = bg.plot_ellipses(posterior_of_few, mle=mle_of_few)

# %% [markdown]
# Now the estimate and the posterior part. Most posteriors are much wider than the standard errors say, the spreads are
# skewed or have a second mode (an interval "estimate plus or minus" has the wrong shape), and the dashed ellipses are
# on the small side of the draws. All four spreads of the posterior are larger than those of the fit, by up to half a
# posterior sd. Is that the prior's doing? The comparison answers: the prior of the scales pulls none of them. The
# likelihood itself is lopsided, since twelve points exclude a small spread much better than a large one. Where a part
# of the prior does have a say, here that of the correlations, the rows carry the flag `prior`: with thirty points what
# you assume of correlations matters, and you are told.

# %%
assert posterior_of_few.verdict.status.name == "GOOD"
rows = {row.name: row for row in comparison_of_few.rows}
spreads = [row for row in rows.values() if row.parameter == "sd"]
assert all(row.mean > row.estimate for row in spreads)
assert all(row.width_ratio > 1.25 for row in spreads)
assert all({"skew", "second mode"} & set(row.flags) for row in spreads)
assert all(row.sensitivity_scales < 0.05 and row.prior_shift < row.shift / 2 for row in spreads)
assert "prior" in rows["correlation[1, eruptions~waiting]"].flags
assert {row.prior_part for row in rows.values() if "prior" in row.flags} == {"correlations"}

# %% [markdown]
# ## What to remember
#
# - `fit_em`, `fit_nuts`, `compare`: three calls, and the verdict comes before the numbers.
# - With much data and clear clusters the point estimate is fine, and now you know that it is.
# - With little data its error bars are too short and symmetric where nothing is, and its clusters too sure.
# - What the posterior adds comes from the likelihood or from the prior. The comparison says which.
#
# Next: [why EM and NUTS are one function](02_one_kernel.ipynb).
