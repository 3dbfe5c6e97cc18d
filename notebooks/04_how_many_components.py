# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. How many components?
#
# The velocities of 82 galaxies are the classic case: in the literature they have had from three to seven components.
# The reason is not carelessness. "How many?" is several questions, and each criterion answers its own. We ask them all.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist

import bayes_gmm as bg

x = bg.datasets.load("galaxies")
x

# %% [markdown]
# ## Maximum likelihood with a penalty
#
# More components always raise the likelihood, so criteria charge for parameters, lower being better:
#
# $$\mathrm{AIC} = -2 \log L + 2 p, \qquad \mathrm{BIC} = -2 \log L + p \log N, \qquad
# \mathrm{ICL} = \mathrm{BIC} - 2 \sum_n \log \max_k r_{nk}.$$
#
# AIC aims at prediction, BIC approximates minus twice the log evidence, and ICL adds a charge for clusters that
# overlap. With one feature the structures are two: one variance for all ("tied") or one for each ("full").

# %%
selection = bg.select_em(x, range(1, 8), covariance_type=("tied", "full"), n_starts=64, progress=False)
selection

# %%
full = {K: fit for (K, structure), fit in selection.fits.items() if structure == "full"}
print("  K     BIC     AIC     ICL   smallest sd")
for K, fit in full.items():
    print(f"{K:3d}{fit.bic():8.1f}{fit.aic():8.1f}{fit.icl():8.1f}{fit.mixture.scales.min():14.4f}")
ax = bg.plot_selection(selection)

# %% [markdown]
# BIC names six components, AIC seven, and ICL has three and four within a hundredth of each other. Before you choose a
# favourite, look at the last column. From four components on, the narrowest has a standard deviation of less than 50
# km/s, and in three of these four fits it sits on two galaxies whose velocities happen to be 35 km/s apart. That is no
# group of galaxies; it is a place where the likelihood pays well for a narrow component, and no penalty on the *number*
# of parameters knows of it.

# %%
best = {name: min(full, key=lambda K, name=name: getattr(full[K], name)()) for name in ("bic", "aic")}
assert selection.best is full[6]
assert best == {"bic": 6, "aic": 7}
assert abs(full[3].icl() - full[4].icl()) < 0.01
assert min(fit.icl() for fit in full.values()) > full[3].icl() - 0.01

narrow = full[6].mixture.scales[:, 0].argmin()
members = x.values[full[6].responsibilities().argmax(1) == narrow, 0]
np.testing.assert_allclose(members, [26.96, 26.995])
np.testing.assert_allclose([full[K].mixture.scales.min() for K in (4, 6, 7)], 0.0175, atol=1e-4)
assert full[5].mixture.scales.min() < 0.05 < 0.4 < full[3].mixture.scales.min()

# %% [markdown]
# A weak prior on the variances takes the reward for such spikes away; the fit is then the mode of a posterior (MAP),
# and the same BIC says three. All components are now wider than 280 km/s.

# %%
regularised = bg.select_em(x, range(1, 8), prior=bg.ConjugatePrior(), n_starts=64, progress=False)
print(regularised)

assert regularised.best.mixture.n_components == 3
assert min(fit.mixture.scales.min() for fit in regularised.fits.values()) > 0.28

# %% [markdown]
# ## A test by simulation
#
# Is one component more than chance? Twice the log likelihood ratio of $K$ against $K + 1$ is not chi-squared (the extra
# component sits on a boundary), but it can be simulated: data from the fit of $K$, fitted again with both.

# %%
tests = {K: bg.likelihood_ratio_test(x, K, progress=False) for K in (2, 3)}
for test in tests.values():
    print(test)

# %% [markdown]
# Two components are rejected as firmly as 99 simulations can; three are not, at 5 %. (Not rejected is not proven.)

# %%
assert tests[2].p_value <= 0.03
assert tests[3].p_value > 0.05

# %% [markdown]
# ## Posteriors, compared by what they predict
#
# Now six posteriors, from one component to six. Their yardstick is the expected log predictive density of a galaxy that
# the model has not seen, estimated by leaving each out in turn: $\mathrm{elpd\_loo} = \sum_n \log p(x_n \mid x_{-n})$.
# Stacking then asks which weights would make the *average* of the six predict best.

# %%
posteriors = {f"K={K}": bg.fit_nuts(x, K, start=full[K], progress=False) for K in (1, 2, 3)}
print(posteriors["K=2"].verdict.summary)

# %%
posteriors |= {f"K={K}": bg.fit_nuts(x, K, start=full[K], progress=False) for K in (4, 5)}
print(posteriors["K=4"].verdict.summary)

# %%
posteriors["K=6"] = bg.fit_nuts(x, 6, start=full[6], progress=False)
models = bg.compare_models(posteriors)
models

# %% [markdown]
# Read it with the column of errors. One and two components predict much worse. Three, four, five and six are within two
# standard errors of the best: as far as prediction goes these 82 galaxies cannot tell, and they need not. Averaged over
# its posterior, a mixture with spare components does not overfit as its maximum does.
#
# And read it with the verdicts. All six posteriors are sampled well, and what rests on their densities can be quoted.
# With two components the chains moved between two explanations, the second with about a twentieth of the mass, which
# is where components begin to be called DOUBTFUL. From four on single ones cannot be named: in a third of the draws or
# more, one of them is another component. That is a fact about the data, and longer chains would not change it.

# %%
rows = {model.name: model for model in models.models}
for name in ("K=1", "K=2"):
    assert rows[name].elpd_difference < -2 * rows[name].elpd_difference_se
for name in ("K=3", "K=4", "K=5", "K=6"):
    assert rows[name].elpd_difference >= -2 * rows[name].elpd_difference_se
judged = {name: posterior.verdict.judgements() for name, posterior in posteriors.items()}
assert {verdict["sampling"] for verdict in judged.values()} == {"GOOD"}
assert [judged[f"K={K}"]["components"] for K in (1, 3, 4, 5, 6)] == ["GOOD"] * 2 + ["DOUBTFUL"] * 3
assert len(posteriors["K=2"].explanations) == 2
assert 0.01 < posteriors["K=2"].explanations[1].mode_share < 0.1
assert all(posteriors[f"K={K}"].relabelling.ambiguous.max() > 0.25 for K in (4, 5, 6))

# %%
grid = np.linspace(7, 37, 300)[:, None]
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.hist(x.values[:, 0], bins=40, density=True, color="0.88")
for name in ("K=3", "K=4", "K=6"):
    ax.plot(grid[:, 0], np.exp(posteriors[name].log_prob(grid)), label=f"posterior, {name}")
ax.plot(grid[:, 0], np.exp(full[6].mixture.log_prob(grid)), color="0.4", linewidth=0.8, linestyle="--", label="ML, K=6")
ax.set(xlabel="velocity [1000 km/s]", ylabel="density", ylim=(0, 0.4))
legend = ax.legend(frameon=False)

# %% [markdown]
# From four components on the predictive density barely changes: no event has a probability that differs by a tenth.
# Three smooth the bulk into a single hump. The maximum-likelihood fit of six is another matter: its spike leaves the
# picture.

# %%
densities = {name: np.exp(posteriors[name].log_prob(grid)) for name in ("K=3", "K=4", "K=6")}
step = grid[1, 0] - grid[0, 0]


def total_variation(p, q):
    """Half the integral of the absolute difference: the most by which two densities can differ in any probability."""
    return 0.5 * np.abs(p - q).sum() * step


assert total_variation(densities["K=4"], densities["K=6"]) < 0.1
assert total_variation(densities["K=3"], densities["K=4"]) > 2 * total_variation(densities["K=4"], densities["K=6"])
assert np.exp(full[6].mixture.log_prob(full[6].mixture.means)).max() > 2 * densities["K=6"].max()

# %% [markdown]
# ## Evidence, and what it owes to the prior
#
# The evidence $p(x \mid K) = \int p(x \mid \theta) \, p(\theta) \, d\theta$ answers yet another question: which model
# would have bet best on these data *before* seeing any? `fit_laplace` estimates it, all $K!$ labellings counted, from
# Gaussians at the modes, and Pareto's k says how well these fit: up to 0.7 the estimate is reliable, above it rough,
# from 1 on worthless. The default prior lets a component be narrow or empty, for which no Gaussian stands, so we give
# the variances one that keeps them off zero, and stay near the limit even so. Let us widen the prior of the means, from
# a standard deviation of twice that of the data to ten times. No galaxy contradicts either.

# %%
center, spread = x.values.mean(), x.values.std()
variances = dist.InverseGamma(2.0, 0.05 * spread**2)
log_odds = {}
for width in (2, 5, 10):
    prior = bg.Prior(means=dist.Normal(center, width * spread), variances=variances)
    options = {"prior": prior, "num_draws": 20_000, "progress": False}
    fits = {K: bg.fit_laplace(x, K, start=full[K], **options) for K in (3, 4)}
    largest_k = max(fit.pareto_k for fit in fits.values())
    assert largest_k < 0.9
    log_odds[width] = fits[4].log_evidence - fits[3].log_evidence
    odds = f"odds of four against three {math.exp(log_odds[width]):.2f}"
    print(f"sd of the prior {width:2d} x that of the data: {odds} (k at most {largest_k:.2f})")

# %%
wide = bg.Prior(means=dist.Normal(center, 10 * spread))
again = {f"K={K}, wide": bg.fit_nuts(x, K, prior=wide, start=full[K], progress=False) for K in (3, 4)}
sensitivity = bg.compare_models({"K=3": posteriors["K=3"], "K=4": posteriors["K=4"], **again})
sensitivity

# %% [markdown]
# Under one prior the odds are nine to one for four components, under the other about two to one, and falling: each
# component pays anew for the room that its mean was given and did not use. The predictions hardly care: elpd_loo moves
# by less than two nats, of which some are Monte Carlo error, where its standard error is eight to ten. If you report
# evidence or $p(K \mid x)$, report the prior with it, and mean it.

# %%
assert 1.8 < log_odds[2] < 2.5
assert 0.2 < log_odds[10] < 0.9
assert log_odds[2] > log_odds[5] > log_odds[10]
elpd = {model.name: model.elpd_loo for model in sensitivity.models}
assert abs(elpd["K=3"] - elpd["K=3, wide"]) < 2
assert abs(elpd["K=4"] - elpd["K=4, wide"]) < 2
assert all(8 < model.elpd_loo_se < 11 for model in sensitivity.models)

# %% [markdown]
# ## What each criterion answers
#
# | criterion | its question | here |
# |---|---|---|
# | AIC | predicts best at the maximum-likelihood fit? | 7 (spikes) |
# | BIC | evidence, under a prior worth one observation? | 6 (spikes); 3 with a prior on the variances |
# | ICL | the same, and clusters apart? | 3 or 4 |
# | likelihood-ratio test | is one more than chance? | not beyond 3 |
# | elpd_loo, stacking | predicts best, averaged over the posterior? | 3 to 6, no difference |
# | evidence | would have bet best beforehand? | 4, as far as the prior lets it |
#
# The honest conclusion: there are at least three groups, a slow one, a fast one, and the bulk. Whether the bulk is one
# Gaussian or two these 82 velocities do not say. If you need a density, take four or more and let the posterior
# average; if you need clusters, take three; and if your conclusion hangs on the number, say so.

# %%
three = full[3].mixture
np.testing.assert_allclose(three.means[:, 0], [9.7, 21.4, 33.0], atol=0.1)
assert three.weights.argmax() == 1
assert three.weights[1] > 0.8

# %% [markdown]
# Next: [what can go wrong, and what the package says then](05_when_it_goes_wrong.ipynb).
