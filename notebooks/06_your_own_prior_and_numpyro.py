# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. Your own prior, and the rest of NumPyro and ArviZ
#
# The default prior takes its scale from the data and knows nothing else. If you know more, say it in NumPyro's
# distributions, in the units of the data. And if you want to leave the package's beaten path, the model is a plain
# NumPyro model and the posterior a plain ArviZ tree.

# %%
import arviz as az
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, init_to_median, log_likelihood
from numpyro.infer.autoguide import AutoMultivariateNormal

import bayes_gmm as bg

x = bg.datasets.load("faithful")
bg.Prior().for_data(x.values, n_components=2)  # the default, filled in

# %% [markdown]
# ## What you know, in minutes
#
# Suppose a ranger tells us, before we see any data: about half of the eruptions are short, some two minutes, and are
# followed by a wait of about an hour, give or take ten minutes; the long ones last four to five minutes, with a wait of
# an hour and a half. Within a kind eruptions vary by half a minute or so, waits by six minutes. The ranger writes waits
# down in whole minutes; `resolution="data"` finds such steps from equal values, and lets no component be narrower than
# the error of rounding.

# %%
ranger = bg.Prior(
    weights=dist.Beta(5.0, 5.0),
    means=dist.Normal(np.array([[2.0, 60.0], [4.5, 90.0]]), np.array([0.5, 10.0])),  # (component, feature)
    scales=dist.LogNormal(np.log([0.5, 6.0]), 0.3),
    resolution="data",
)
print(ranger.describe(x.columns))

# %% [markdown]
# ## What does that say about data?
#
# A prior is best judged by the data it expects. `prior_predictive` draws mixtures from it and tables from those.

# %%
tree = bg.prior_predictive(x, 2, prior=ranger, num_draws=500)
simulated = tree["prior_predictive"]["x"].values[0]  # (table, point, feature)

fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for d, ax in enumerate(axes):
    bins = np.linspace(*np.quantile(simulated[..., d], [0.001, 0.999]), 40)
    for table in simulated[:30]:
        ax.hist(table[:, d], bins, density=True, histtype="step", color="C0", alpha=0.2)
    ax.hist(x.values[:, d], bins, density=True, histtype="step", color="black", label="the data")
    ax.set(xlabel=f"{x.columns[d]} [{x.units[d]}]", yticks=[])
legend = axes[0].legend(frameon=False)

# %% [markdown]
# Thirty imagined tables in blue, the real one in black. The prior expects two humps, roughly where they are, and
# nothing absurd: hardly an eruption of negative length. The waits are shorter than the ranger said, though not beyond
# what he allowed. That is what a good prior looks like: vague, and not silly.

# %%
assert (simulated[..., 0] < 0).mean() < 0.01
mean_wait = simulated[..., 1].mean(1)
assert x.values[:, 1].mean() < mean_wait.mean()
assert (mean_wait < x.values[:, 1].mean()).mean() > 0.2

# %% [markdown]
# ## The posterior under it

# %%
posterior = bg.fit_nuts(x, 2, prior=ranger, progress=False)
print(posterior)
axes = bg.plot_prior_posterior(posterior, parameters=("weight", "mean"))

# %% [markdown]
# Three things to see. The ranger's prior tells the components apart, so there is no label switching to undo, and the
# verdict says that nothing was relabelled. With 272 eruptions the data drown the prior: the posterior means are within
# half a posterior sd of those under the default, and each posterior is more than five times narrower than its prior.
# But where the ranger was sure of himself he is heard. The sensitivity of each parameter to each part of the prior says
# where: eruptions of the short kind vary less than he thought, and his prior of the scales holds their spread up.

# %%
default = bg.fit_nuts(x, 2, progress=False)
own, usual = posterior.draws.means, default.draws.means  # (chain, draw, component, feature)

assert posterior.verdict.status.name == "GOOD"
assert any("prior tells the components apart" in note for note in posterior.verdict.notes)
assert np.all(np.abs(own.mean((0, 1)) - usual.mean((0, 1))) < 0.5 * usual.std((0, 1)))
assert np.all(own.std((0, 1)) < np.array([0.5, 10.0]) / 5)

comparison = bg.compare(posterior.mle, posterior)
for row in comparison.rows:
    if "prior" in row.flags:
        print(f"{row.name:20} sensitivity {row.prior_sensitivity:.3f} to the prior of the {row.prior_part},", end=" ")
        print(f"which moves its mean by {row.prior_shift:+.2f} posterior sd")

# %% [markdown]
# A number in place of a distribution holds the parameter. Say that within a kind eruptions are known to scatter by 0.4
# minutes and waits by six, and that both kinds are equally frequent:

# %%
held = bg.Prior(weights=np.array([0.5, 0.5]), scales=np.array([0.4, 6.0]))
restricted = bg.fit_nuts(x, 2, prior=held, progress=False)
print(restricted.prior.describe(x.columns))

assert np.ptp(restricted.draws.weights) < 1e-12
np.testing.assert_allclose(restricted.draws.scales[..., 1], 6.0, rtol=1e-12)
assert restricted.verdict.status.name == "GOOD"

# %% [markdown]
# ## A prior from the literature, exactly
#
# What NumPyro does not have, a class of a few lines has. Richardson and Green (1997) give the variances of the
# galaxies' components a common scale: $\sigma_k^2 \sim \mathrm{InverseGamma}(2, \beta)$ and $\beta \sim
# \mathrm{Gamma}(0.2, 10 / R^2)$, with the range $R$ of the data; the means are $N(\xi, R^2)$ about the middle. $\beta$
# can be integrated out:
#
# $$p(\sigma_1^2, \dots, \sigma_K^2) \propto \prod_k \sigma_k^{-6} \,
#   \Big(\frac{10}{R^2} + \sum_k \sigma_k^{-2}\Big)^{-(0.2 + 2 K)}.$$


# %%
class SharedRate(dist.Distribution):
    """Variances (K, 1) that are InverseGamma(2, beta), with beta ~ Gamma(0.2, rate) integrated out."""

    support = constraints.independent(constraints.positive, 2)
    pytree_data_fields = ("rate",)
    pytree_aux_fields = ("n_components",)

    def __init__(self, n_components, rate):
        self.n_components, self.rate = n_components, rate
        super().__init__(event_shape=(n_components, 1))

    def log_prob(self, variances):
        """Log density, up to a constant."""
        precisions = 1 / variances
        shape = 0.2 + 2 * self.n_components
        return 3 * jnp.log(precisions).sum((-2, -1)) - shape * jnp.log(self.rate + precisions.sum((-2, -1)))


galaxies = bg.datasets.load("galaxies")
low, high = galaxies.values.min(), galaxies.values.max()
published = bg.Prior(means=dist.Normal((low + high) / 2, high - low), variances=SharedRate(3, 10 / (high - low) ** 2))
both = {"published": bg.fit_nuts(galaxies, 3, prior=published, progress=False)}
both["default"] = bg.fit_nuts(galaxies, 3, start=both["published"].mle, progress=False)
for name, fit in both.items():
    row = next(row for row in bg.compare(fit.mle, fit).rows if row.name == "sd[0, velocity]")
    print(f"{name:10} {row.name} {row.mean:.2f} +- {row.sd:.2f}, maximum likelihood {row.estimate:.2f};", end=" ")
    print(f"shift {row.shift:+.2f} sd, {row.prior_shift:+.2f} of it by the prior")

# %% [markdown]
# Seven slow galaxies lie close together. Under the shared scale they must be as spread out as the others to be
# believed: the prior pulls their standard deviation up by about a posterior sd, and the comparison says so. The default
# prior lets components of one column differ by an order of magnitude, and leaves them alone.

# %%
rows = {name: {row.name: row for row in bg.compare(fit.mle, fit).rows} for name, fit in both.items()}
shared, own_scale = (rows[name]["sd[0, velocity]"] for name in ("published", "default"))
assert "prior" in shared.flags
assert shared.prior_part == "scales"
assert shared.prior_shift > 0.7
assert abs(own_scale.prior_shift) < 0.4

# %% [markdown]
# ## The model as a plain NumPyro model
#
# `bg.model` takes the data, the number of components and the prior. Everything in NumPyro works on it: here its own
# `MCMC`, in double precision, begun at the prior's medians: from elsewhere a chain may end, and stay, where the two
# kinds are exchanged, which the prior makes improbable but no sampler of this sort leaves. (With graphviz installed,
# `numpyro.render_model(bg.model, (x.values, 2), render_distributions=True)` draws its graph.)

# %%
with jax.enable_x64(True):
    kernel = NUTS(bg.model, init_strategy=init_to_median(num_samples=100))
    mcmc = MCMC(kernel, num_warmup=300, num_samples=500, num_chains=2, chain_method="vectorized", progress_bar=False)
    mcmc.run(jax.random.key(0), x.values, 2, prior=ranger)
    samples = jax.device_get(mcmc.get_samples())
    pointwise = jax.device_get(log_likelihood(bg.model, samples, x.values, 2, prior=ranger)["x"])

for name, values in samples.items():
    print(f"{name:17} {values.shape}")

# %% [markdown]
# The same posterior, by other means: both sets of means agree to a fifth of a posterior sd or better, which is what a
# thousand draws can tell. (The site `scales` is what lies above the resolution; `covariances` is the whole.) And
# NumPyro's log-likelihood, its labels summed out by `MixtureSameFamily`, is the kernel's.

# %%
assert np.all(np.abs(samples["means"].mean(0) - own.mean((0, 1))) < 0.2 * own.std((0, 1)))

mixtures = bg.Mixture.from_moments(samples["weights"], samples["means"], samples["covariances"])
np.testing.assert_allclose(pointwise, mixtures.log_prob(x.values), atol=1e-8)

# %% [markdown]
# ## Variational inference, and prediction
#
# `SVI` with an automatic guide fits a Gaussian in unconstrained coordinates. It is quick, and here, with a prior that
# tells the components apart and plenty of data, it is a good approximation. (Under an exchangeable prior it would
# settle for one of the $K!$ labellings and never say so.)

# %%
complete = ranger.for_data(x.values, 2)  # what the ranger left out, the correlations, filled in
guide = AutoMultivariateNormal(bg.model, init_loc_fn=init_to_median(num_samples=100), init_scale=0.02)
optimizer = numpyro.optim.Adam(lambda step: 0.03 * 0.999**step)
svi = SVI(bg.model, guide, optimizer, Trace_ELBO(num_particles=4))
with jax.enable_x64(True):
    result = svi.run(jax.random.key(1), 3000, x.values, 2, prior=complete, progress_bar=False)
    variational = guide.sample_posterior(jax.random.key(2), result.params, sample_shape=(2000,))
    new = Predictive(bg.model, variational)(jax.random.key(3), None, 2, prior=complete, n_points=100)["x"]
    variational, new = jax.device_get((variational, new))

print("NUTS       ", own.mean((0, 1)).round(3).tolist())
print("variational", variational["means"].mean(0).round(3).tolist())
print("predictions", new.shape, "mean", new.mean((0, 1)).round(2), "data", x.values.mean(0).round(2))

# %%
assert np.all(np.abs(variational["means"].mean(0) - own.mean((0, 1))) < 0.5 * own.std((0, 1)))
ratio = variational["means"].std(0) / own.std((0, 1))
assert np.all((ratio > 0.7) & (ratio < 1.4))
assert np.all(np.abs(new.mean((0, 1)) / x.values.mean(0) - 1) < 0.05)

# %% [markdown]
# ## The posterior as a plain ArviZ tree
#
# `posterior.tree` is an xarray `DataTree` in ArviZ's schema, with the names of your columns as coordinates. Any ArviZ
# function reads it.

# %%
print(*posterior.tree.children)
az.summary(posterior.tree, var_names=["weights", "means"])

# %%
plots = az.plot_rank(posterior.tree, var_names=["means"], figure_kwargs={"figsize": (9, 2.6)})

# %% [markdown]
# Each curve is one chain, and none leaves the others behind: R-hat says the same in one number. Now the comparison of
# the ranger's prior with the default, by leave-one-out cross-validation, by ArviZ itself:

# %%
assert float(az.rhat(posterior.tree, var_names=["means"])["means"].max()) < 1.01
table = az.compare({"ranger": posterior.tree, "default": default.tree})
table[["rank", "elpd", "p", "elpd_diff", "dse"]]

# %% [markdown]
# The two priors predict equally well: the difference is less than a nat. With 272 eruptions a good prior is good
# manners.

# %%
loo = az.loo(posterior.tree)
np.testing.assert_allclose(float(loo.elpd), bg.compare(default.mle, posterior).loo.elpd, atol=1e-6)
assert abs(table["elpd_diff"]).max() < 1

# %% [markdown]
# ## What to remember
#
# - A prior is made of NumPyro distributions in the units of the data; a number holds a parameter; what you leave out is
#   the default.
# - Look at `prior_predictive` before you look at the posterior.
# - A prior that tells the components apart removes label switching, if you can defend it.
# - `bg.model` is for NumPyro, `posterior.tree` for ArviZ. You are never locked in.
