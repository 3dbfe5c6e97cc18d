"""Every figure but the ellipses: the right numbers in the right artists, in the right colours, with the right words."""

import dataclasses
from types import SimpleNamespace

import arviz as az
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats
import xarray as xr
from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch
from scipy.stats import chi2

import bayes_gmm as bg
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.plots import component_color
from bayes_gmm.posterior.arviz_tree import posterior_tree

pytestmark = pytest.mark.numpyro

FAITHFUL, GALAXIES, IRIS = (bg.datasets.load(name) for name in ("faithful", "galaxies", "iris"))


@pytest.fixture(scope="module")
def velocities():
    """The one posterior that is sampled."""
    mle = bg.fit_em(GALAXIES, 4, n_starts=8)
    return bg.fit_nuts(GALAXIES, 4, start=mle, num_samples=100, num_chains=2, progress=False)


def pretended(like, table, mixture, n_draws=100, spread=0.05):
    """A posterior of draws around a mixture, for tables that would take long to sample; chains are those of `like`."""
    rng = np.random.default_rng(0)
    shape, K, D = (2, n_draws), mixture.n_components, mixture.n_features
    draws = bg.Mixture.from_moments(
        rng.dirichlet(mixture.weights / spread**2, shape),
        mixture.means + spread * mixture.scales * rng.normal(size=(*shape, K, D)),
        np.asarray(mixture.covariances) * np.exp(spread * rng.normal(size=(*shape, K, 1, 1))),
    )
    stats = {name: part.values[:, :n_draws] for name, part in like.tree["sample_stats"].data_vars.items()}
    tree = posterior_tree(
        draws, table, sample_stats=stats, log_likelihood=stats["lp"], pointwise=None, attributes={"seed": 0}
    )
    permutations = np.broadcast_to(np.roll(np.arange(K), 1), (*shape, K))
    return dataclasses.replace(
        like,
        draws=draws,
        tree=tree,
        explanations=like.explanations[:1],  # All draws are around one mixture; the short chains of `like` may differ.
        relabelling=like.relabelling._replace(permutations=permutations, shares=np.ones((*shape, K))),
        problem=PosteriorProblem.of(table, K, covariance_type="full", prior=None),
        mle=dataclasses.replace(like.mle, mixture=mixture),
    )


def around(like, mle):
    return dataclasses.replace(pretended(like, mle.table, mle.mixture), mle=mle)


@pytest.fixture(scope="module")
def geyser(velocities):
    return around(velocities, bg.fit_em(FAITHFUL, 2, n_starts=8))


@pytest.fixture(scope="module")
def flowers(velocities):
    return around(velocities, bg.fit_em(IRIS, 3, n_starts=8))


def table_of(mixture, n_points, name, columns=None):
    columns = columns or tuple(f"x{i + 1}" for i in range(mixture.n_features))
    return bg.Table(mixture.sample(n_points, seed=1)[0], columns, name=name)


@pytest.fixture(scope="module")
def wide(velocities):
    rng = np.random.default_rng(3)
    mixture = bg.Mixture.from_moments([0.3, 0.3, 0.4], rng.normal(0, 2, (3, 10)), [np.eye(10)] * 3)
    return pretended(velocities, table_of(mixture, 200, "wide"), mixture)


@pytest.fixture(scope="module")
def survey(velocities):
    mixture = bg.Mixture.from_moments([0.6, 0.4], [[0.0, 0.0], [2.0, 1.0]], [np.eye(2)] * 2)
    return pretended(velocities, table_of(mixture, 1_000_000, "survey"), mixture, n_draws=10, spread=0.002)


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def cases(geyser, velocities, flowers, wide, survey):
    return {"faithful": geyser, "galaxies": velocities, "iris": flowers, "ten features": wide, "million": survey}


CASES = ("faithful", "galaxies", "iris", "ten features", "million")
FIGURES = {
    "clusters": bg.plot_clusters,
    "pair": bg.plot_pair,
    "uncertainty": bg.plot_uncertainty,
    "map": lambda posterior: bg.plot_uncertainty(posterior, features=first_two(posterior)),
    "coclustering": bg.plot_coclustering,
    "density": lambda posterior: bg.plot_density(posterior, features=first_two(posterior)),
    "one density": lambda posterior: bg.plot_density(posterior, mle=posterior.mle.mixture, features=0),
    "ppc": bg.plot_ppc,
    "prior": bg.plot_prior_posterior,
    "relabelling": bg.plot_relabelling,
    "diagnostics": bg.plot_diagnostics,
}


def first_two(posterior):
    return list(range(min(posterior.table.n_features, 2)))


def first(axes):
    return np.asarray(axes, dtype=object).flat[0]


def words_of(axes):
    figure = first(axes).figure
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    return " ".join([figure.get_suptitle(), *titles])


PAIRS = [(case, figure) for case in CASES for figure in FIGURES if (case, figure) != ("iris", "prior")]
MARKS = {"ten features": pytest.mark.slow}


@pytest.mark.parametrize(("case", "figure"), [pytest.param(*pair, marks=MARKS.get(pair[0], ())) for pair in PAIRS])
def test_figures_are_drawn_inside_the_page_and_change_no_setting(cases, case, figure):
    before = dict(matplotlib.rcParams)
    axes = FIGURES[figure](cases[case])
    page = first(axes).figure
    page.canvas.draw()
    drawn = page.get_tightbbox()
    width, height = page.get_size_inches()
    assert min(drawn.x0, drawn.y0) > -0.05
    assert drawn.x1 < width + 0.05
    assert drawn.y1 < height + 0.05
    assert cases[case].table.name in words_of(axes)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("figure", ["clusters", "uncertainty", "map", "one density", "density"])
def test_legends_stand_above_the_data(geyser, figure):
    ax = FIGURES[figure](geyser)
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1 - 2
    assert not ax.get_legend().get_window_extent().overlaps(ax._left_title.get_window_extent())


@pytest.mark.parametrize("figure", ["clusters", "uncertainty", "coclustering", "density", "prior", "ppc"])
def test_means_over_different_explanations_are_called_so(geyser, figure):
    two = dataclasses.replace(geyser, explanations=geyser.explanations * 2)
    assert "mean of 2 different explanations" in words_of(FIGURES[figure](two))
    assert "explanations" not in words_of(FIGURES[figure](geyser))


@pytest.mark.parametrize("figure", ["clusters", "uncertainty", "map", "density"])
def test_a_sample_of_a_large_table_is_called_so(survey, figure):
    assert "random 20,000 of 1,000,000 points" in words_of(FIGURES[figure](survey))


def test_given_axes_are_used_and_no_new_figure_made(geyser):
    figure, axes = plt.subplots(1, 4)
    plots = (bg.plot_clusters, bg.plot_uncertainty, bg.plot_coclustering, bg.plot_density)
    for ax, plot in zip(axes, plots, strict=True):
        assert plot(geyser, ax=ax) is ax
    assert plt.get_fignums() == [figure.number]


# Clusters and pairs


def dashed(ax):
    return [line for line in ax.lines if line.get_linestyle() == "--"]


def solid(ax):
    return [line for line in ax.lines if line.get_linestyle() == "-"]


def test_solid_ellipses_are_those_of_the_posterior_means(geyser):
    ax = bg.plot_clusters(geyser, mle=geyser.mle, probability=0.8)
    assert [to_hex(line.get_color()).upper() for line in solid(ax)] == [component_color(k) for k in range(2)]
    assert len(dashed(ax)) == 2
    means, covariances = geyser.draws.means.mean((0, 1)), geyser.draws.covariances.mean((0, 1))
    for line, mean, covariance in zip(solid(ax), means, covariances, strict=True):
        offsets = line.get_xydata() - mean
        distances = np.einsum("nd,nd->n", offsets, np.linalg.solve(covariance, offsets.T).T)
        np.testing.assert_allclose(distances, chi2.ppf(0.8, 2), rtol=1e-9)


def test_points_have_the_colour_of_their_most_probable_component(geyser):
    (dots,) = bg.plot_clusters(geyser).collections
    colors = {tuple(xy): to_hex(c).upper() for xy, c in zip(dots.get_offsets(), dots.get_facecolors(), strict=True)}
    for point, k in zip(map(tuple, FAITHFUL.values), geyser.predict(), strict=True):
        assert colors[point] == component_color(k)


def test_histogram_counts_each_point_by_its_responsibilities(velocities):
    ax = bg.plot_clusters(velocities)
    areas = {}
    for bar in ax.patches:
        color = to_hex(bar.get_facecolor(), keep_alpha=False).upper()
        areas[color] = areas.get(color, 0) + bar.get_width() * bar.get_height()
    shares = velocities.responsibilities().mean(0)
    assert areas == pytest.approx({component_color(k): share for k, share in enumerate(shares)}, abs=1e-9)


def test_clusters_of_many_features_are_the_pairs(flowers):
    one, other = bg.plot_clusters(flowers), bg.plot_pair(flowers)
    assert one.shape == other.shape == (4, 4)
    for ax, same in zip(one.flat, other.flat, strict=True):
        assert ax.get_xlabel() == same.get_xlabel()
        for line, twin in zip(ax.lines, same.lines, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), twin.get_xydata())


def test_pairs_of_chosen_columns(flowers):
    axes = bg.plot_pair(flowers, features=["petal_width", 0, "petal_length"])
    assert [ax.get_xlabel() for ax in axes[-1]] == ["petal_width [cm]", "sepal_length [cm]", "petal_length [cm]"]
    assert "3 of 4 features" in words_of(axes)
    (dots,) = axes[1, 0].collections
    offsets, expected = np.asarray(dots.get_offsets()), IRIS.values[:, [3, 0]]
    np.testing.assert_array_equal(offsets[np.lexsort(offsets.T)], expected[np.lexsort(expected.T)])
    assert bg.plot_pair(flowers, features="sepal_width").shape == (1, 1)


# Uncertainty


def test_ranking_shows_uncertainty_with_its_sd_in_order(velocities):
    ax = bg.plot_uncertainty(velocities, n_points=20)
    shares, sds = velocities.responsibilities(), velocities.responsibilities_sd()
    certain = shares.max(1)
    bars, dots = ax.collections
    heights = np.asarray(dots.get_offsets())[:, 1]
    np.testing.assert_allclose(heights, np.sort(1 - certain)[::-1][:20], atol=1e-12)
    rows = [int(tick.get_text()) for tick in ax.get_xticklabels()]
    assert len(set(rows)) == 20
    for place, row in enumerate(rows):
        own, sd = shares[row].argmax(), sds[row, shares[row].argmax()]
        assert heights[place] == pytest.approx(1 - certain[row], abs=1e-12)
        ends = bars.get_segments()[place][:, 1]
        np.testing.assert_allclose(ends, np.clip([heights[place] - sd, heights[place] + sd], 0, 1), atol=1e-12)
        assert to_hex(dots.get_facecolors()[place]).upper() == component_color(own)
        assert to_hex(dots.get_edgecolors()[place]).upper() == component_color(np.argsort(shares[row])[-2])


def test_ranking_leaves_out_the_certain_and_counts_the_uncertain(geyser):
    ax = bg.plot_uncertainty(geyser)
    shares, sds = geyser.responsibilities(), geyser.responsibilities_sd()
    reach = 1 - shares.max(1) + np.take_along_axis(sds, shares.argmax(1)[:, None], 1)[:, 0]
    count, above = (reach >= 0.001).sum(), (shares.max(1) < 0.9).sum()
    assert 1 < count < 50
    assert ax.get_title(loc="left") == f"faithful, {count} most uncertain of 272 points, {above} above 0.1"


def test_an_em_fit_has_uncertainty_without_sd(geyser):
    ax = bg.plot_uncertainty(geyser.mle, n_points=5)
    (dots,) = ax.collections
    expected = np.sort(1 - geyser.mle.responsibilities().max(1))[::-1]
    np.testing.assert_allclose(np.asarray(dots.get_offsets())[:, 1], expected[: len(dots.get_offsets())], atol=1e-12)
    assert "posterior sd" not in [text.get_text() for text in ax.get_legend().get_texts()]


def test_disc_of_the_map_grows_with_uncertainty_and_its_ring_with_the_sd(geyser):
    ax = bg.plot_uncertainty(geyser, features=("waiting", "eruptions"))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("waiting [min]", "eruptions [min]")
    discs, rings = ax.collections
    place = {tuple(xy): area for xy, area in zip(np.asarray(discs.get_offsets()), discs.get_sizes(), strict=True)}
    uncertainty = 1 - geyser.responsibilities().max(1)
    areas = np.array([place[tuple(row)] for row in FAITHFUL.values[:, ::-1]])
    np.testing.assert_allclose(np.diff(areas[np.argsort(uncertainty)]) >= 0, True)
    assert areas.max() > 20 * areas.min()
    assert 0 < len(rings.get_sizes()) < 272
    for xy, area in zip(np.asarray(rings.get_offsets()), rings.get_sizes(), strict=True):
        assert area > place[tuple(xy)]
    assert str(uncertainty.argmax()) in [text.get_text() for text in ax.texts]


def test_uncertainty_over_the_values_of_one_feature(velocities):
    ax = bg.plot_uncertainty(velocities, features=0)
    offsets = np.asarray(ax.collections[1].get_offsets())
    order = np.argsort(-(1 - velocities.responsibilities().max(1)), kind="stable")
    np.testing.assert_array_equal(offsets[:, 0], GALAXIES.values[order, 0])
    assert ax.get_xlabel() == "velocity [1000 km/s]"


# Co-clustering


def test_co_clustering_is_a_reordered_matrix_with_the_components_beside_it(velocities):
    ax = bg.plot_coclustering(velocities)
    shown, together = ax.images[0].get_array(), velocities.co_clustering()
    np.testing.assert_allclose(np.sort(shown.sum(0)), np.sort(together.sum(0)), atol=1e-9)
    np.testing.assert_allclose(shown, shown.T, atol=1e-12)
    assert (
        np.abs(np.diff(shown, axis=0)).mean()
        < 0.5 * np.abs(np.diff(together[np.random.default_rng(0).permutation(82)], axis=0)).mean()
    )
    strip = ax.child_axes[0].images[0]
    labels, counts = np.unique(strip.get_array(), return_counts=True)
    np.testing.assert_array_equal(counts, np.bincount(velocities.predict())[labels])
    assert to_hex(strip.to_rgba(np.array([2]))[0]).upper() == component_color(2)


def test_co_clustering_of_many_points_is_of_a_sample(survey):
    ax = bg.plot_coclustering(survey, max_points=60)
    assert ax.images[0].get_array().shape == (60, 60)
    assert "random 60 of 1,000,000 points" in words_of(ax)


# Density and posterior predictive check


def test_one_feature_has_the_density_of_the_posterior_and_its_band(velocities):
    ax = bg.plot_density(velocities, mle=velocities.mle, probability=0.8)
    (line,) = solid(ax)
    x, y = line.get_data()
    mean, lower, upper = velocities.density(x[:, None], probability=0.8)
    np.testing.assert_allclose(y, mean, rtol=1e-9, atol=1e-12)
    outline = ax.collections[0].get_paths()[0].vertices
    for place in (100, 200, 300):
        heights = outline[outline[:, 0] == x[place], 1]
        assert (heights.min(), heights.max()) == pytest.approx((lower[place], upper[place]), rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(
        dashed(ax)[0].get_ydata(), np.exp(velocities.mle.mixture.log_prob(x[:, None])), rtol=1e-9, atol=1e-12
    )
    assert "80% interval" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_regions_hold_the_shares_that_the_colour_bar_names(geyser):
    ax = bg.plot_density(geyser)
    filled = ax.collections[0]
    bar = next(other for other in ax.figure.axes if other is not ax)
    shares = [float(tick.get_text().rstrip("%")) / 100 for tick in bar.get_yticklabels()]
    assert shares == [0.99, 0.95, 0.8, 0.5, 0.2]
    new = geyser.sample(100, seed=1).reshape(-1, 2)
    heights = np.exp(geyser.log_prob(new))
    for level, share in zip(filled.levels, shares, strict=False):
        assert (heights >= level).mean() == pytest.approx(share, abs=0.02)


def test_lines_of_relative_sd_lie_where_it_is_what_they_say(geyser):
    ax = bg.plot_density(geyser)
    lines = ax.collections[1]
    assert len(lines.levels) >= 2
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        densities = np.exp(geyser.draws.log_prob(path.vertices)).reshape(200, -1)
        relative = densities.std(0) / densities.mean(0)
        assert np.median(np.abs(relative / level - 1)) < 0.03


def test_marginal_density_of_a_chosen_column(flowers):
    ax = bg.plot_density(flowers, features="petal_length")
    x, y = solid(ax)[0].get_data()
    expected = np.exp(flowers.draws.marginal([2]).log_prob(x[:, None])).mean((0, 1))
    np.testing.assert_allclose(y, expected, rtol=1e-8, atol=1e-12)


def test_predictive_check_shows_the_replications_of_the_tree(geyser):
    axes = bg.plot_ppc(geyser, probability=0.5)
    drawn = geyser.tree["posterior_predictive"]["x"].values.reshape(-1, 272, 2)
    assert f"{len(drawn)} replications of 272 points" in words_of(axes)
    for feature, ax in enumerate(axes.flat):
        band, median, data = (patch for patch in ax.patches if isinstance(patch, StepPatch))
        edges = data.get_data().edges
        scale = 1 / (272 * np.diff(edges))
        np.testing.assert_allclose(data.get_data().values, np.histogram(FAITHFUL.values[:, feature], edges)[0] * scale)
        replicated = np.stack([np.histogram(values[:, feature], edges)[0] for values in drawn]) * scale
        lower, middle, upper = np.quantile(replicated, [0.25, 0.5, 0.75], axis=0)
        np.testing.assert_allclose(band.get_data().values, upper, atol=0.02 * upper.max())
        np.testing.assert_allclose(band.get_data().baseline, lower, atol=0.02 * upper.max())
        np.testing.assert_allclose(median.get_data().values, middle, atol=0.02 * upper.max())
    statistic = scipy.stats.skew(drawn[..., 0], axis=1) >= scipy.stats.skew(FAITHFUL.values[:, 0])
    assert f"skewness {statistic.mean():.2f}" in axes[0, 0].get_title(loc="left")


def test_few_replications_are_counted_and_wide_tables_cut(wide, survey):
    axes = bg.plot_ppc(wide)
    assert axes.shape == (2, 3)
    assert "first 6 of 10 features" in words_of(axes)
    assert "replications of 1,000,000 points" in words_of(bg.plot_ppc(survey))
    assert " of " in bg.plot_ppc(survey, features=0)[0, 0].get_title(loc="left").split("skewness")[1]


# Estimates, prior, selection


@pytest.fixture(scope="module")
def comparison(geyser):
    # The modes are those of the posterior that was sampled, of another table: no Gaussian is to be taken from them.
    around = geyser.modes.around._replace(damping=np.ones(len(geyser.modes.share)))
    return bg.compare(geyser.mle, dataclasses.replace(geyser, modes=geyser.modes._replace(around=around)))


def row_lines(ax, marker=None):
    return [line for line in ax.lines if line.get_marker() == (marker or "None") and len(set(line.get_ydata())) == 1]


def with_rows(comparison, **changes):
    return dataclasses.replace(comparison, rows=tuple(dataclasses.replace(row, **changes) for row in comparison.rows))


def test_forest_shows_both_intervals_in_posterior_sds(comparison):
    ax = bg.plot_forest(comparison, parameters=("sd", "mean"))
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    rows = {row.name: row for row in comparison.rows}
    assert names[0].startswith("mean[0")
    assert names[-1].startswith("sd[1")
    assert len(names) == 8
    intervals = [line for line in row_lines(ax) if line.get_linewidth() > 2]
    errors = [line for line in row_lines(ax) if line.get_linestyle() == "--"]
    hollow = [line for line in row_lines(ax, "o") if line.get_markerfacecolor() == "white"]
    for name, interval, error, estimate in zip(names, intervals, errors, hollow, strict=True):
        row = rows[name]
        np.testing.assert_allclose(interval.get_xdata(), np.array([row.lower, row.upper] - np.array(row.mean)) / row.sd)
        ends = row.estimate + 2 * row.standard_error * np.array([-1, 1])
        np.testing.assert_allclose(error.get_xdata(), (ends - row.mean) / row.sd)
        np.testing.assert_allclose(estimate.get_xdata(), -row.shift)
        assert {line.get_color() for line in (interval, error, estimate)} == {component_color(row.component)}


def test_forest_gives_the_numbers_with_units(comparison):
    ax = bg.plot_forest(comparison)
    numbers = [tick.get_text() for tick in ax.child_axes[0].get_yticklabels()]
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert numbers[names.index("mean[1, waiting]")].endswith(" [min]")
    assert not numbers[names.index("weight[0]")].endswith(" [min]")
    row = next(row for row in comparison.rows if row.name == "mean[1, waiting]")
    assert float(numbers[names.index(row.name)].split()[0]) == pytest.approx(row.mean, abs=0.006)


def test_forest_shows_of_a_held_parameter_its_value_alone(comparison):
    held = with_rows(comparison, mean=1.0, sd=1e-16, lower=1.0, upper=1.0)
    ax = bg.plot_forest(held, parameters="sd")
    numbers = [tick.get_text() for tick in ax.child_axes[0].get_yticklabels()]
    assert numbers == ["held at 1 [min]"] * 4
    assert not any(line.get_markerfacecolor() == "white" for line in ax.lines)


def test_forest_says_where_there_is_no_standard_error(comparison):
    ax = bg.plot_forest(with_rows(comparison, standard_error=np.nan))
    ax.figure.canvas.draw()
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "no standard error (12 of 12)" in words
    assert not any("2 standard errors" in word for word in words)


def test_forest_keeps_the_rows_that_differ_most_and_those_flagged(comparison):
    rows = list(comparison.rows)
    rows[3] = dataclasses.replace(rows[3], estimate=rows[3].mean - 40 * rows[3].sd)
    flagged = dataclasses.replace(rows[7], flag="skew")
    changed = dataclasses.replace(comparison, rows=(*rows[:7], flagged, *rows[8:]))
    ax = bg.plot_forest(changed, n_rows=2)
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert set(names) == {rows[3].name, rows[7].name}
    assert "2 of 12 parameters: where the two differ most" in ax.get_title(loc="left")
    numbers = ax.child_axes[0].get_yticklabels()
    assert ["(skew)" in number.get_text() for number in numbers] == [name == rows[7].name for name in names]
    assert [text.get_text() for text in ax.texts] == ["\N{MINUS SIGN}40"]
    assert [line.get_marker() for line in ax.lines].count("<") == 1
    assert ax.get_xlim()[1] < 10


def test_prior_and_posterior_are_the_histograms_of_their_draws(geyser):
    axes = bg.plot_prior_posterior(geyser, parameters=("mean", "weight"))
    assert [ax.get_xlabel() for ax in axes.flat] == ["weight", "", "mean eruptions [min]", "mean waiting [min]"]
    assert not axes[0, 1].axison
    prior, *components = axes[1, 1].patches
    scale = 4 * FAITHFUL.values[:, 1].std() ** 2
    edges, centre = prior.get_data().edges, FAITHFUL.values[:, 1].mean()
    middles = (edges[1:] + edges[:-1]) / 2
    np.testing.assert_allclose(prior.get_data().values, np.exp(-0.5 * (middles - centre) ** 2 / scale), atol=0.12)
    for k, patch in enumerate(components):
        values, edges, _ = patch.get_data()
        counts, _ = np.histogram(geyser.draws.means[..., k, 1], edges)
        np.testing.assert_allclose(values, counts / counts.max())
        assert to_hex(patch.get_facecolor(), keep_alpha=False).upper() == component_color(k)


def test_a_prior_of_each_component_is_outlined_in_its_colour(geyser):
    import numpyro.distributions as dist

    own = bg.Prior(means=dist.Normal(np.array([[2.0, 50.0], [4.0, 80.0]]), np.array([0.5, 5.0])))
    problem = PosteriorProblem.of(FAITHFUL, 2, covariance_type="full", prior=own)
    axes = bg.plot_prior_posterior(dataclasses.replace(geyser, problem=problem), parameters="mean")
    outlines = [patch for patch in axes[0, 0].patches if patch.get_linestyle() == "--"]
    assert [to_hex(patch.get_edgecolor()).upper() for patch in outlines] == [component_color(k) for k in range(2)]
    peaks = [patch.get_data().edges[patch.get_data().values.argmax()] for patch in outlines]
    np.testing.assert_allclose(peaks, [2, 4], atol=0.5)


def records(**changes):
    kinds = [("VVV", K, 500.0 + 3 * (K - 3) ** 2) for K in range(1, 7)]
    kinds += [("EEE", K, 510.0 + 3 * (K - 3) ** 2) for K in range(1, 7)]
    return [
        {"n_components": K, "structure": name, "status": "CONVERGED", "bic": bic, "icl": bic + 1, "aic": bic - 9}
        | changes.get(f"{name}{K}", {})
        for name, K, bic in kinds
    ]


def chosen(rows, **attributes):
    return SimpleNamespace(records=lambda: rows, **attributes)


def test_selection_draws_a_line_for_each_structure_and_rings_the_best():
    ax = bg.plot_selection(chosen(records()), criterion="icl")
    lines = [line for line in ax.lines if len(line.get_xdata()) == 6]
    np.testing.assert_allclose(lines[0].get_ydata(), [513, 504, 501, 504, 513, 528])
    np.testing.assert_array_equal(lines[1].get_xdata(), range(1, 7))
    (ring,) = (line for line in ax.lines if line.get_markersize() == 12)
    assert (*ring.get_xdata(), *ring.get_ydata()) == (3, 501)
    assert [text.get_text() for text in ax.texts] == ["K = 3, VVV"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["VVV", "EEE", "best"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("number of components", "ICL, lower is better")


def test_failed_fits_are_crosses_and_unfinished_ones_hollow():
    failed = {"bic": np.nan, "status": "COLLAPSED"}
    ax = bg.plot_selection(chosen(records(EEE5=failed, EEE6=failed, VVV4={"status": "MAX_STEPS"})))
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert sorted(x for line in crosses for x in line.get_xdata()) == [5, 6]
    assert {to_hex(line.get_color()).upper() for line in crosses} == {component_color(1)}
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in hollow] == [(4, 503)]
    assert {"failed", "not converged"} <= {text.get_text() for text in ax.get_legend().get_texts()}


def test_predictive_density_has_axes_of_its_own_with_standard_errors():
    loo = {f"VVV{K}": {"elpd_loo": -250.0 - (K - 4) ** 2, "elpd_loo_se": 5.0} for K in range(1, 7)}
    given = chosen(records(**loo), criterion="elpd_loo")
    above, below = bg.plot_selection(given)
    assert above.get_ylabel().startswith("BIC")
    (bars,) = below.collections
    np.testing.assert_allclose([np.ptp(bar[:, 1]) for bar in bars.get_segments()], 10)
    assert [text.get_text() for text in below.texts] == ["K = 4, VVV"]
    assert len([line for line in below.lines if line.get_marker() == "x"]) == 6
    ax = plt.subplots()[1]
    assert bg.plot_selection(given, criterion="elpd_loo", ax=ax) is ax
    with pytest.raises(bg.ArgumentError, match="ax is given for two criteria"):
        bg.plot_selection(given, ax=ax)


def test_a_hopeless_structure_does_not_flatten_the_others():
    ax = bg.plot_selection(chosen(records(EEE1={"bic": 9000.0}, EEE2={"bic": 8000.0})))
    assert ax.get_ylim()[1] < 1000
    assert "2 fits lie beyond the axis" in [text.get_text() for text in ax.texts]


def test_a_selection_of_em_fits_is_drawn_as_its_records_say():
    selection = bg.select_em(GALAXIES, range(1, 4), n_starts=2, progress=False)
    ax = bg.plot_selection(selection)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [record["bic"] for record in selection.records()])
    assert "galaxies" in ax.get_title(loc="left")


# Chains


def test_relabelling_shows_the_traces_before_and_after(flowers):
    before, after = bg.plot_relabelling(flowers, parameter="scales", feature="petal_length")
    as_sampled = flowers.draws_as_sampled
    assert not np.allclose(as_sampled.scales, flowers.draws.scales)
    for ax, draws in ((before, as_sampled), (after, flowers.draws)):
        traces = [line for line in ax.lines if len(line.get_xdata()) == 100]
        values = [line.get_ydata() for line in traces]
        np.testing.assert_allclose(values, np.concatenate(np.moveaxis(draws.scales[..., 2], -1, 1)))
        assert [line.get_color() for line in traces] == [component_color(k) for k in range(3)] * 2
    assert after.get_ylabel() == "sd petal_length [cm]"


def test_relabelling_titles_give_r_hat_and_the_ambiguous_draws(velocities):
    before, after = bg.plot_relabelling(velocities)
    own = az.rhat(velocities.tree["posterior"].to_dataset())["means"].max()
    assert f"R-hat {float(own):.3f}" in after.get_title(loc="left")
    assert f"ambiguous draws {velocities.relabelling.ambiguous.max():.1%}" in after.get_title(loc="left")
    sampled_means = xr.Dataset({"m": (("chain", "draw", "k", "d"), velocities.draws_as_sampled.means)})
    assert f"R-hat {float(az.rhat(sampled_means)['m'].max()):.3f}" in before.get_title(loc="left")


def test_diagnostics_carry_the_verdict_and_mark_divergences(geyser):
    diverging = np.zeros((2, 100), bool)
    diverging[1, [7, 30]] = True
    stats = geyser.tree["sample_stats"].to_dataset().assign(diverging=(("chain", "draw"), diverging))
    groups = {name: group.to_dataset() for name, group in geyser.tree.items()}
    tree = xr.DataTree.from_dict(groups | {"sample_stats": stats})
    axes = bg.plot_diagnostics(dataclasses.replace(geyser, tree=tree))
    assert geyser.verdict.summary in words_of(axes)
    (crosses,) = (line for line in axes[0, 0].lines if line.get_marker() == "x")
    np.testing.assert_array_equal(crosses.get_xdata(), [7, 30])
    np.testing.assert_allclose(crosses.get_ydata(), tree["sample_stats"]["lp"].values[1, [7, 30]])


def test_diagnostics_show_r_hat_and_ess_as_arviz_computes_them(velocities):
    axes = bg.plot_diagnostics(velocities)
    parameters, invariants, *_ = axes[0, 2].lines
    data = velocities.tree["posterior"].to_dataset()
    expected = np.concatenate([part.values.ravel() for part in az.rhat(data).data_vars.values()])
    np.testing.assert_allclose(np.sort(parameters.get_ydata()), np.sort(expected), rtol=1e-9)
    data = velocities.tree["invariants"].to_dataset()
    bulk, tail = az.ess(data), az.ess(data, method="tail", prob=(0.05, 0.95))
    expected = np.concatenate([np.minimum(bulk[name], tail[name]).values.ravel() for name in data.data_vars])
    np.testing.assert_allclose(np.sort(invariants.get_xdata()), np.sort(expected), rtol=1e-9)
    ends = [line.get_ydata()[-1] for line in axes[1, 1].lines if len(line.get_xdata()) == 10]
    np.testing.assert_allclose(np.sort(ends[:-1]), np.sort(invariants.get_xdata()), rtol=1e-9)


def test_diagnostics_show_shares_of_tree_depths_and_of_ranks(geyser):
    axes = bg.plot_diagnostics(geyser)
    depths = geyser.tree["sample_stats"]["tree_depth"].values.ravel()
    heights = [bar.get_height() for bar in axes[1, 2].patches]
    np.testing.assert_allclose(heights, np.bincount(depths) / 200)
    steps = [patch for patch in axes[0, 1].patches if isinstance(patch, StepPatch)]
    assert len(steps) == 2
    for patch in steps:
        assert patch.get_data().values.mean() == pytest.approx(1)


# What cannot be drawn


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: bg.plot_clusters(), "Neither posterior nor mle"),
        (lambda p: bg.plot_clusters(p, ax=plt.subplots()[1]), "ax is given for 4 features"),
        (lambda p: bg.plot_clusters(p, probability=1.5), "probability is 1.5"),
        (lambda p: bg.plot_pair(p, features=["petal", 0]), "'sepal_length', 'sepal_width'"),
        (lambda p: bg.plot_pair(p, features=[0, 0]), r"features is \[0, 0\]"),
        (lambda p: bg.plot_uncertainty(p, features=[0, 1, 2]), "one to 2 different ones of the columns 'sepal_length'"),
        (lambda p: bg.plot_uncertainty(p, n_points=0), "n_points is 0"),
        (lambda p: bg.plot_coclustering(p, max_points=10_000), "max_points is 10000"),
        (lambda p: bg.plot_density(p), "features is left out for a table of 4 columns.*sepal_length, sepal_width"),
        (lambda p: bg.plot_density(p, features=[]), r"features is \[\]"),
        (lambda p: bg.plot_density(p, features=7), "features is 7"),
        (lambda p: bg.plot_density(p, features=True), "features is True"),
        (lambda p: bg.plot_ppc(p, features="height"), "features is 'height'"),
        (lambda p: bg.plot_ppc(p, probability=0.0), "probability is 0.0"),
        (lambda p: bg.plot_prior_posterior(p, parameters="mu"), "parameters is 'mu'.*'weight', 'mean'"),
        (lambda p: bg.plot_prior_posterior(p, seed=-1), "seed is -1"),
        (lambda p: bg.plot_relabelling(p, parameter="mean"), 'parameter is \'mean\'.*"weights", "means"'),
        (lambda p: bg.plot_relabelling(p, feature="height"), "one of the columns"),
        (lambda p: bg.plot_selection(chosen([])), "selection is of type SimpleNamespace"),
        (lambda p: bg.plot_selection(chosen([{"bic": 3.0}])), "selection is of type SimpleNamespace"),
        (lambda p: bg.plot_selection(chosen(records()), criterion="elpd_loo"), "criterion is 'elpd_loo'.*'bic', 'icl'"),
        (lambda p: bg.plot_selection(chosen(records()[:1]), criterion="best"), "criterion is 'best'"),
    ],
)
def test_unusable_arguments_are_refused(flowers, call, message):
    with pytest.raises(bg.ArgumentError, match=message):
        call(flowers)


def test_selection_of_failures_alone_is_refused():
    failed = [record | {"bic": np.nan, "icl": np.nan, "aic": np.nan} for record in records()]
    with pytest.raises(bg.ArgumentError, match="Every fit failed"):
        bg.plot_selection(chosen(failed))


def test_forest_refuses_what_the_comparison_lacks(comparison):
    without = dataclasses.replace(comparison, rows=comparison.rows[:5])
    with pytest.raises(bg.ArgumentError, match="no parameter of the kinds correlation"):
        bg.plot_forest(without, parameters="correlation")
    with pytest.raises(bg.ArgumentError, match="n_rows is 0"):
        bg.plot_forest(comparison, n_rows=0)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bg.plot_clusters("faithful"), "posterior is of type str"),
        (lambda: bg.plot_uncertainty(FAITHFUL), "posterior is of type Table.*Posterior or EMFit"),
        (lambda: bg.plot_coclustering(None), "posterior is of type NoneType.*Expected Posterior"),
        (lambda: bg.plot_density(1), "posterior is of type int"),
        (lambda: bg.plot_ppc([1]), "posterior is of type list"),
        (lambda: bg.plot_prior_posterior({}), "posterior is of type dict"),
        (lambda: bg.plot_forest(FAITHFUL), "comparison is of type Table.*Expected Comparison"),
        (lambda: bg.plot_relabelling("x"), "posterior is of type str"),
        (lambda: bg.plot_diagnostics(3.0), "posterior is of type float"),
        (lambda: bg.plot_selection(FAITHFUL), "selection is of type Table"),
    ],
)
def test_arguments_of_wrong_types_are_refused(call, message):
    with pytest.raises(bg.ArgumentError, match=message):
        call()
    assert not plt.get_fignums()


@pytest.mark.wrong_types
def test_axes_that_are_none_are_refused(geyser):
    for plot in (bg.plot_clusters, bg.plot_uncertainty, bg.plot_coclustering, bg.plot_density):
        with pytest.raises(bg.ArgumentError, match="ax is of type str"):
            plot(geyser, ax="left")
