# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5. When it goes wrong, and what the package says then
#
# Mixtures fail in a few well-known ways, most of them quietly. This notebook provokes each failure on purpose, shows
# what the package says, and what to do about it.

# %%
import textwrap
import warnings

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist

import bayes_gmm as bg


def say(text):
    """Print a long sentence in short lines."""
    print(textwrap.fill(str(text), 110))


def fit_and_listen(fit, *args, **options):
    """Call a fit; return what it gives, and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", bg.FitWarning)
        result = fit(*args, **options)
    return result, [str(warning.message) for warning in caught if warning.category is bg.FitWarning]


# %% [markdown]
# ## At the door
#
# Some tables cannot be fitted at all. Every error has three parts: what was found, what was expected, what to do.

# %%
unusable = {
    "an infinite value": np.array([[1.0, 2.0], [np.inf, 3.0], [3.0, 4.0], [4.0, 5.0]]),
    "a constant column": np.column_stack([np.arange(5.0), np.ones(5)]),
    "the wrong way round": np.arange(6.0).reshape(2, 3) ** 2,
}
errors = {}
for name, table in unusable.items():
    try:
        bg.fit_em(table, n_components=2)
    except bg.DataError as error:
        errors[name] = error
        say(f"{name}: {error}")

# %%
assert set(errors) == set(unusable)
assert all(error.found and error.expected and error.remedy for error in errors.values())

# %% [markdown]
# ## Collapse: the likelihood has no maximum
#
# Put the mean of one component on a single point and let its standard deviation $\sigma$ go to zero. The density at
# that point grows like $\sigma^{-D}$, all others are looked after by the second component, and the likelihood grows
# without bound. Here with Old Faithful, a share of $1/272$ on row 0:

# %%
x = bg.datasets.load("faithful")
whole = bg.fit_em(x, n_components=1).mixture


def spiked_log_likelihood(width):
    """Log-likelihood of one Gaussian for all and one of this width, in minutes, on row 0."""
    mixture = bg.Mixture.from_moments(
        [1 / 272, 271 / 272],
        [x.values[0], whole.means[0]],
        [width**2 * np.eye(2), whole.covariances[0]],
    )
    return mixture.log_prob(x.values).sum()


widths = np.geomspace(1e-40, 1, 41)
heights = np.array([spiked_log_likelihood(width) for width in widths])
best = bg.fit_em(x, n_components=2)

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.semilogx(widths, heights, label="one component on row 0")
ax.axhline(best.log_likelihood, color="0.5", linestyle="--", label="the sensible maximum")
ax.set(xlabel="standard deviation of that component [min]", ylabel="log-likelihood")
legend = ax.legend(frameon=False)

# %% [markdown]
# Each factor of ten in width pays $D \log 10 = 4.6$ nats, for ever; in the end more than any sensible fit. Nobody wants
# that "maximum". So the answer to look for is the best *local* one, and a run that shrinks below a ten-thousandth of
# the data's spread is said to have collapsed.

# %%
gain = np.diff(heights[:20]) / np.diff(np.log10(widths[:20]))
np.testing.assert_allclose(gain, -2 * np.log(10), rtol=0.01)
assert heights[0] > best.log_likelihood > heights[20]

# %% [markdown]
# Forty-three points, three of them the same, and eight components: more than the data can feed.

# %%
points = np.concatenate([np.random.default_rng(0).normal(size=(40, 2)), [[1.0, 1.0]] * 3])
greedy, said = fit_and_listen(bg.fit_em, points, n_components=8)
print(greedy)
for sentence in said:
    say(sentence)
try:
    greedy.check()
except bg.FitError as error:
    say(f"FitError: {error}")

# %% [markdown]
# Every start collapsed, the status says so, a `FitWarning` tells you without being asked, and `check()` turns it into
# an error for scripts. The cure that keeps maximum likelihood's speed is a conjugate prior: the answer is then the mode
# of a posterior, which has no such holes.

# %%
assert greedy.status is bg.EMStatus.COLLAPSED
assert len(said) == 1
assert all(status == bg.EMStatus.COLLAPSED for status in greedy.start_statuses)

cured, said = fit_and_listen(bg.fit_em, points, n_components=8, prior=bg.ConjugatePrior())
assert cured.status is bg.EMStatus.CONVERGED
assert said == []
assert cured.mixture.scales.min() > 0.05

# %% [markdown]
# ## Ties: a posterior that does not exist
#
# Old Faithful's waiting times are whole minutes; 78 stands fifteen times in the table. A half-normal prior on the
# standard deviations looks harmless, but it has positive density at zero, and a component that sits on $m$ tied values
# earns $\sigma^{-m}$. Its mean must hit the tie, which costs one $\sigma$, and so the posterior density of $\log
# \sigma$ goes like $p(\log \sigma) \, \sigma^{1 - m}$: its integral is infinite. There is no posterior.

# %%
log_width = np.linspace(np.log(1e-12), np.log(30), 400)
width = np.exp(log_width)
per_log_width = {  # log densities of log sigma, but for constants
    "half-normal scales": -0.5 * (width / 10) ** 2 + log_width,
    "the default, above a floor": -((log_width - np.log(1.36)) ** 2) / (2 * 5),
}
floor = 1 / np.sqrt(12)  # of whole minutes
spread_of = {"half-normal scales": width, "the default, above a floor": np.hypot(width, floor)}
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for name, log_prior in per_log_width.items():
    ax.semilogx(width, log_prior + (1 - 15) * np.log(spread_of[name]), label=name)
ax.set(xlabel="standard deviation of the component on the tie [min]", ylabel="log density", ylim=(-150, 400))
legend = ax.legend(frameon=False)

# %% [markdown]
# Under the half-normal prior the curve rises for ever to the left. The default prior knows that waits were written down
# in whole minutes: no component is narrower than the error of rounding, $1 / \sqrt{12}$ of a minute, below which the
# tie pays nothing more and the prior alone decides.

# %%
half_normal, default = (log_prior + (1 - 15) * np.log(spread_of[name]) for name, log_prior in per_log_width.items())
assert np.all(np.diff(half_normal)[:200] < 0)
assert default[0] < default.max() - 50
assert 0.02 < width[default.argmax()] < floor

# %%
improper, said = fit_and_listen(
    bg.fit_nuts, x, 2, prior=bg.Prior(scales=dist.HalfNormal(10.0)), start=best, progress=False
)
for sentence in said:
    say(sentence)
print(improper.verdict.summary)

# %% [markdown]
# Look at the last line: by the numbers the draws are perfect. Chains that start near a sensible mode never see the hole
# next to it, and no R-hat can report a place where nobody was. Only reading data and prior together finds it, which is
# why the package warns *before* sampling, by column and value, and will not call the draws GOOD. It found a second
# hole: with correlations a component can also shrink onto a line through the points, as eight of them lie on one. Your
# own scales with `resolution="data"` have the floor of the default, and neither hole.

# %%
assert len(said) == 2
assert "8 points lie on a hyperplane of eruptions, waiting" in said[1]
assert "in column 'waiting' the value 78 stands 15 times" in said[0]
assert improper.verdict.max_rhat["invariants"] < 1.05
assert improper.verdict.status.name == "DOUBTFUL"
assert "HalfNormal" in improper.verdict.reasons[0]
assert (x.values[:, 1] == 78).sum() == 15

proper, said = fit_and_listen(bg.fit_nuts, x, 2, start=best, progress=False)
assert said == []
assert proper.verdict.notes == ()

floored = bg.Prior(scales=dist.HalfNormal(10.0), resolution="data")
_, said = fit_and_listen(bg.fit_nuts, x, 2, prior=floored, start=best, progress=False)
assert said == []

# %% [markdown]
# ## Two explanations
#
# Sometimes the data can be told as two stories. Four groups at the corners of a square, and two components: left and
# right, or above and below. (Each point is there a second time with its columns exchanged, so that neither story can be
# the better one.) First NUTS alone, which is what a given `num_samples` asks for:

# %%
corners = 3.0 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
half = corners.repeat(12, 0) + np.random.default_rng(0).normal(size=(48, 2))
square = np.concatenate([half, half[:, ::-1]])
stories = bg.fit_nuts(square, 2, num_samples=1000, progress=False)
for sentence in stories.verdict.sentences:
    say(f"- {sentence}")

# %%
fig, axes = plt.subplots(1, len(stories.explanations), figsize=(7, 3.2), sharey=True, layout="constrained")
for ax, story in zip(axes, stories.explanations, strict=True):
    draws = jax.tree.map(lambda leaf, story=story: leaf[list(story.chains)], stories.draws)
    ax.scatter(*square.T, s=8, c=draws.responsibilities(square).mean((0, 1))[:, 0], cmap="coolwarm", vmin=0, vmax=1)
    ax.set(title=f"chains {', '.join(map(str, story.chains))}", xlabel="x1", aspect="equal")
label = axes[0].set_ylabel("x2")

# %% [markdown]
# No relabelling makes these one, so the verdict is BAD and the stories are listed, each with its chains. How many
# chains tell a story says little about its probability (each mode that matters was given a chain); the share of the
# mass by Laplace's approximation is the better guide, and here it leaves both standing. What to do: look at each by
# itself, as above, and ask whether the number of components is right. (With four, one story remains.)
#
# Left to itself, without `num_samples`, `fit_nuts` goes on where NUTS cannot: chains then jump from one story to the
# other, and the draws weigh both.

# %%
assert stories.verdict.sampling.name == "BAD"
assert len(stories.explanations) == 2
assert sorted(chain for story in stories.explanations for chain in story.chains) == [0, 1, 2, 3]
np.testing.assert_allclose([story.mode_share for story in stories.explanations], 0.5, atol=0.01)
assert len(bg.fit_nuts(square, 4, num_samples=1000, progress=False).explanations) == 1

# %%
both = bg.fit_nuts(square, 2, progress=False)
sideways = np.abs(both.draws.means[..., 0, 0] - both.draws.means[..., 1, 0]) > 3
print(f"{both.verdict.summary}; left and right in {sideways.mean():.0%} of the draws")
assert both.verdict.sampling.name == "GOOD"
assert 0.4 < sideways.mean() < 0.6

# %% [markdown]
# ## Too many components: divergences
#
# A hundred draws from one Gaussian, and two components asked for. The spare one may be anywhere, of any width, and
# weigh next to nothing: a funnel that no step size of NUTS fits.

# %%
single = np.random.default_rng(0).normal(size=(100, 1))
spare = bg.fit_nuts(single, 2, num_samples=1000, progress=False)
axes = bg.plot_diagnostics(spare)
for sentence in spare.verdict.sentences:
    say(f"- {sentence}")

# %% [markdown]
# Divergences are NUTS saying that it cannot enter a region. Without `num_samples` the sampling goes on by other means
# until the draws are draws from the posterior. But that is all that a sampler can do: a component that the data do not
# ask for stays one, and its own numbers mean little, which the second half of the verdict says. Fewer components change
# the question:

# %%
one = bg.fit_nuts(single, 1, progress=False)
finished = bg.fit_nuts(single, 2, progress=False)
print(f"NUTS alone       {spare.verdict.summary}")
print(f"until it is done {finished.verdict.summary}")
print(f"one component    {one.verdict.summary}")

# %%
assert spare.verdict.sampling.name != "GOOD"
assert spare.verdict.n_divergent > 5
assert finished.verdict.sampling.name == "GOOD"
assert finished.verdict.components.name != "GOOD"
assert one.verdict.status.name == "GOOD"

# %% [markdown]
# ## Too short
#
# The last failure is the easiest to cure.

# %%
short = bg.fit_nuts(x, 2, start=best, num_warmup=50, num_samples=50, progress=False)
for sentence in (short.verdict.summary, *short.verdict.sentences):
    say(sentence)
print(f"with the default length: {proper.verdict.summary}")

# %%
assert short.verdict.status.name != "GOOD"
assert any("Raise num_samples" in reason for reason in short.verdict.reasons)
assert proper.verdict.status.name == "GOOD"

# %% [markdown]
# ## What to remember
#
# | what happened | what you see | what to do |
# |---|---|---|
# | collapse | `COLLAPSED`, `FitWarning` | fewer components, `ConjugatePrior`, or the posterior |
# | ties under a prior with mass at zero | `FitWarning` with column and value | the default, `resolution="data"` |
# | a prior against the data | flag `prior`, "the prior, not the data, moves ..." | reconsider the prior, or mean it |
# | several explanations | BAD, `posterior.explanations` | look at each, reconsider K; never average |
# | spare components | divergences, ambiguous draws | leave `num_samples` out; fewer components |
# | too few draws | small ESS, large R-hat | raise `num_samples` |
#
# Next: [your own prior, and the rest of NumPyro](06_your_own_prior_and_numpyro.ipynb).
