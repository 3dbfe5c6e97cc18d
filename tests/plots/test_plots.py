"""Every artist shows what it claims to: the right points, contours, densities, colours and words."""

import dataclasses

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from scipy.stats import chi2

from bayes_gmm import datasets
from bayes_gmm.errors import ArgumentError, DataError
from bayes_gmm.io.table import Table, as_table
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.fit_em import fit_em
from bayes_gmm.plots import component_color, plot_ellipses
from bayes_gmm.posterior.fit_nuts import fit_nuts

FAITHFUL, GALAXIES, IRIS = (datasets.load(name) for name in ("faithful", "galaxies", "iris"))


def sampled(table, n_components):
    return fit_nuts(table, n_components, num_samples=50, num_chains=2, progress=False)


@pytest.fixture(scope="module")
def geyser():
    return sampled(FAITHFUL, 2)


@pytest.fixture(scope="module")
def velocities():
    return sampled(GALAXIES, 3)


@pytest.fixture(scope="module")
def flowers():
    return fit_em(IRIS, 2)


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


def spread(n_features, n_points=60, name="data"):
    """A table and a mixture of two that suits it."""
    mixture = Mixture.from_moments([0.4, 0.6], [[0.0] * n_features, [6.0] * n_features], [np.eye(n_features)] * 2)
    points, _ = mixture.sample(n_points, seed=1)
    return dataclasses.replace(as_table(points), name=name), mixture


def artists(ax, kind):
    return [artist for artist in ax.collections if isinstance(artist, kind)]


def scatter(ax):
    (points,) = artists(ax, PathCollection)
    return points


def draws_of(ax):
    return artists(ax, LineCollection)


def dashed(ax):
    return [line for line in ax.lines if line.get_linestyle() == "--"]


def words(ax):
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    return [ax.get_title(loc="left"), *legend]


def mahalanobis(points, mean, covariance):
    offsets = points - mean
    return np.einsum("nd,nd->n", offsets, np.linalg.solve(covariance, offsets.T).T)


def sorted_rows(x):
    return x[np.lexsort(x.T)]


@pytest.mark.parametrize("probability", [0.5, 0.9])
def test_dashed_ellipses_lie_at_the_distance_that_holds_the_probability(geyser, probability):
    ax = plot_ellipses(mle=geyser.mle, probability=probability)
    mixture = geyser.mle.mixture
    assert len(dashed(ax)) == 2
    for line, mean, covariance in zip(dashed(ax), mixture.means, mixture.covariances, strict=True):
        distances = mahalanobis(line.get_xydata(), mean, covariance)
        np.testing.assert_allclose(distances, chi2.ppf(probability, 2), rtol=1e-10)
        np.testing.assert_allclose(line.get_xydata()[0], line.get_xydata()[-1])


def test_an_ellipse_holds_its_probability_of_the_component(geyser):
    component = geyser.mle.mixture
    ax = plot_ellipses(mle=component, data=FAITHFUL, probability=0.7)
    points = np.random.default_rng(0).multivariate_normal(component.means[0], component.covariances[0], 20_000)
    outline = matplotlib.path.Path(dashed(ax)[0].get_xydata())
    assert outline.contains_points(points).mean() == pytest.approx(0.7, abs=0.015)


@pytest.mark.parametrize(("n_draws", "n_shown"), [(1, 1), (30, 30), (100, 100), (1000, 100)])
def test_one_collection_per_component_holds_one_ellipse_per_draw(geyser, n_draws, n_shown):
    ax = plot_ellipses(geyser, n_draws=n_draws)
    assert [len(lines.get_segments()) for lines in draws_of(ax)] == [n_shown, n_shown]


def test_posterior_ellipses_are_those_of_the_draws_in_order(geyser):
    ax = plot_ellipses(geyser)
    means, covariances = (part.reshape(100, *part.shape[2:]) for part in (geyser.draws.means, geyser.draws.covariances))
    for k, lines in enumerate(draws_of(ax)):
        for curve, mean, covariance in zip(lines.get_segments(), means[:, k], covariances[:, k], strict=True):
            np.testing.assert_allclose(mahalanobis(curve, mean, covariance), chi2.ppf(0.9, 2), rtol=1e-9)


def test_every_point_is_drawn_once(geyser):
    ax = plot_ellipses(geyser, mle=geyser.mle)
    np.testing.assert_array_equal(sorted_rows(np.asarray(scatter(ax).get_offsets())), sorted_rows(FAITHFUL.values))


def colors_by_point(ax):
    offsets = map(tuple, np.asarray(scatter(ax).get_offsets()))
    return dict(zip(offsets, zip(scatter(ax).get_facecolors(), scatter(ax).get_edgecolors(), strict=True), strict=True))


def test_points_have_the_colour_of_their_most_probable_component(geyser):
    colors = colors_by_point(plot_ellipses(geyser, mle=geyser.mle))
    for point, shares in zip(map(tuple, FAITHFUL.values), geyser.responsibilities(), strict=True):
        assert to_hex(colors[point][0]).upper() == component_color(int(shares.argmax()))


def test_uncertain_points_and_only_these_wear_a_dark_ring(geyser):
    colors = colors_by_point(plot_ellipses(geyser))
    uncertain = geyser.responsibilities().max(1) < 0.9
    assert uncertain.any()
    for point, ringed in zip(map(tuple, FAITHFUL.values), uncertain, strict=True):
        assert (colors[point][1][3] > 0) == ringed


def test_points_take_the_colours_of_the_mle_without_a_posterior(geyser):
    swapped = geyser.mle.mixture.permute([1, 0])
    colors = colors_by_point(plot_ellipses(mle=swapped, data=FAITHFUL))
    for point, label in zip(map(tuple, FAITHFUL.values), swapped.predict(FAITHFUL), strict=True):
        assert to_hex(colors[point][0]).upper() == component_color(int(label))


def test_ellipses_and_numbers_share_the_colours_of_the_points(geyser):
    ax = plot_ellipses(geyser, mle=geyser.mle)
    for k, lines in enumerate(draws_of(ax)):
        assert to_hex(lines.get_color()[0]).upper() == component_color(k)
    numbers = {text.get_text(): text for text in ax.texts}
    for k in range(2):
        number = numbers[str(k)]
        assert to_hex(number.get_bbox_patch().get_facecolor()).upper() == component_color(k)
        np.testing.assert_allclose(number.get_position(), geyser.draws.means[..., k, :].mean((0, 1)), rtol=1e-9)


def test_palette_has_seven_colours_and_repeats():
    assert len({component_color(k) for k in range(7)}) == 7
    assert component_color(7) == component_color(0)


def test_labels_carry_units_and_plain_names_stand_alone(geyser):
    ax = plot_ellipses(geyser)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("eruptions [min]", "waiting [min]")
    ax = plot_ellipses(geyser, data=FAITHFUL.values)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x1", "x2")


def test_dollar_signs_in_names_are_no_formula():
    table, mixture = spread(2)
    odd = Table(table.values, ("price $", r"$\nonsense$"), name="$x")
    plot_ellipses(mle=mixture, data=odd).figure.canvas.draw()


def test_legend_tells_draws_from_maximum_likelihood(geyser):
    both = words(plot_ellipses(geyser, mle=geyser.mle))
    assert both[0] == "faithful, 2 components, 90% ellipses"
    assert both[1:] == ["272 points", "posterior draws", "maximum likelihood", "uncertain (< 90%)"]
    assert "posterior draws" not in words(plot_ellipses(mle=geyser.mle))
    assert "maximum likelihood" not in words(plot_ellipses(geyser))


def test_legend_and_title_are_outside_the_data_and_inside_the_figure(geyser):
    ax = plot_ellipses(geyser, mle=geyser.mle)
    ax.figure.canvas.draw()
    legend, frame = ax.get_legend().get_window_extent(), ax.get_window_extent()
    title, page = ax._left_title.get_window_extent(), ax.figure.bbox
    assert frame.y1 <= legend.y1 <= page.y1
    assert legend.y0 >= frame.y1 - 2
    assert 0 <= legend.x0 < legend.x1 <= page.x1
    assert not legend.overlaps(title)


def test_legend_of_narrow_axes_leaves_them_their_width(geyser):
    figure, (ax, _) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    plot_ellipses(geyser, mle=geyser.mle, ax=ax)
    figure.canvas.draw()
    assert ax.get_legend().get_window_extent().x1 <= figure.bbox.x1 / 2
    assert not ax.get_legend().get_window_extent().overlaps(ax._left_title.get_window_extent())


def test_given_axes_are_used(geyser):
    figure, (left, right) = plt.subplots(1, 2)
    assert plot_ellipses(mle=geyser.mle, ax=right) is right
    assert plt.get_fignums() == [figure.number]
    assert not left.collections
    assert len(dashed(right)) == 2


def test_global_settings_stay_as_they_were(geyser, flowers):
    before = dict(matplotlib.rcParams)
    plot_ellipses(geyser, mle=geyser.mle)
    plot_ellipses(mle=flowers)
    assert dict(matplotlib.rcParams) == before


def test_one_feature_shows_the_density_of_the_fit(velocities):
    ax = plot_ellipses(velocities, mle=velocities.mle)
    (line,) = dashed(ax)
    x, density = line.get_data()
    np.testing.assert_allclose(density, np.exp(velocities.mle.mixture.log_prob(x[:, None])), rtol=1e-9)
    assert np.trapezoid(density, x) == pytest.approx(1, abs=0.005)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("velocity [1000 km/s]", "density")


def test_one_feature_shows_the_density_of_each_draw(velocities):
    (lines,) = draws_of(plot_ellipses(velocities))
    curves = np.asarray(lines.get_segments())
    x = curves[0, :, 0]
    expected = np.exp(velocities.draws.log_prob(x[:, None])).reshape(100, -1)
    np.testing.assert_allclose(curves[..., 1], expected, rtol=1e-8, atol=1e-12)


def test_one_feature_shows_components_that_sum_to_the_mixture(velocities):
    ax = plot_ellipses(mle=velocities.mle)
    solid = [line for line in ax.lines if line.get_linestyle() == "-"]
    np.testing.assert_allclose(sum(line.get_ydata() for line in solid), dashed(ax)[0].get_ydata(), rtol=1e-10)
    assert [line.get_color() for line in solid] == [component_color(k) for k in range(3)]
    np.testing.assert_allclose(
        [np.trapezoid(line.get_ydata(), line.get_xdata()) for line in solid],
        velocities.mle.mixture.weights,
        atol=0.005,
    )


def test_histogram_holds_every_value_and_strip_every_point(velocities):
    ax = plot_ellipses(mle=velocities.mle)
    areas = [bar.get_width() * bar.get_height() for bar in ax.patches]
    assert sum(areas) == pytest.approx(1)
    np.testing.assert_array_equal(np.sort(np.asarray(scatter(ax).get_offsets())[:, 0]), np.sort(GALAXIES.values[:, 0]))
    assert min(ax.get_yticks()) >= 0


def test_narrow_component_is_not_missed():
    mixture = Mixture.from_moments([0.5, 0.5], [[0.0], [50.0]], [[[1e-6]], [[100.0]]])
    table, _ = mixture.sample(500, seed=0)
    x, density = dashed(plot_ellipses(mle=mixture, data=table))[0].get_data()
    assert np.trapezoid(density, x) == pytest.approx(1, abs=0.02)


def test_grid_pairs_the_features(flowers):
    axes = plot_ellipses(mle=flowers)
    assert axes.shape == (4, 4)
    assert all(axes[i, j].axison == (j <= i) for i, j in np.ndindex(4, 4))
    assert [ax.get_xlabel() for ax in axes[-1]] == [f"{name} [cm]" for name in IRIS.columns]
    assert [ax.get_ylabel() for ax in axes[1:, 0]] == [f"{name} [cm]" for name in IRIS.columns[1:]]
    assert len(axes[0, 0].figure.legends) == 1


def test_grid_shows_the_marginals(flowers):
    axes = plot_ellipses(mle=flowers)
    for i, j in [(1, 0), (3, 1), (3, 2)]:
        offsets = np.asarray(scatter(axes[i, j]).get_offsets())
        np.testing.assert_array_equal(sorted_rows(offsets), sorted_rows(IRIS.values[:, [j, i]]))
        for k, line in enumerate(dashed(axes[i, j])):
            mean = flowers.mixture.means[k, [j, i]]
            covariance = flowers.mixture.covariances[k][np.ix_([j, i], [j, i])]
            distances = mahalanobis(line.get_xydata(), mean, covariance)
            np.testing.assert_allclose(distances, chi2.ppf(0.9, 2), rtol=1e-9)
    x, density = dashed(axes[2, 2])[0].get_data()
    expected = np.exp(flowers.mixture.marginal([2]).log_prob(x[:, None]))
    np.testing.assert_allclose(density, expected, rtol=1e-9, atol=1e-12)


def test_grid_shows_six_features_and_says_so():
    table, mixture = spread(7)
    axes = plot_ellipses(mle=mixture, data=table)
    assert axes.shape == (6, 6)
    assert "first 6 of 7 features" in axes[0, 0].figure.get_suptitle()


@pytest.mark.parametrize("n_features", [1, 2, 3])
def test_large_tables_are_sampled_and_the_figure_says_so(n_features):
    table, mixture = spread(n_features, n_points=20_100)
    axes = np.atleast_2d(plot_ellipses(mle=mixture, data=table))
    ax = axes[-1, 0]
    title = ax.get_title(loc="left") or ax.figure.get_suptitle()
    assert "random 20,000 of 20,100 points" in title
    offsets = np.asarray(scatter(ax).get_offsets())
    assert len(offsets) == 20_000
    assert set(offsets[:, 0]) <= set(table.values[:, 0])


def test_sample_follows_the_seed():
    table, mixture = spread(2, n_points=20_100)
    first, again, other = (
        np.asarray(scatter(plot_ellipses(mle=mixture, data=table, seed=seed)).get_offsets()) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_posterior_colours_a_large_table(geyser):
    large = np.tile(FAITHFUL.values, (80, 1))
    assert len(scatter(plot_ellipses(geyser, data=large)).get_offsets()) == 20_000


def test_wild_draws_do_not_shrink_the_picture(geyser):
    wild = dataclasses.replace(
        geyser, draws=dataclasses.replace(geyser.draws, scale_tril=geyser.draws.scale_tril * 100)
    )
    assert plot_ellipses(wild).get_xlim() == plot_ellipses(geyser).get_xlim()


def test_jax_mixture_of_eight_is_drawn():
    jnp = pytest.importorskip("jax.numpy")
    means = np.random.default_rng(0).uniform(-9, 9, (8, 2))
    mixture = Mixture.from_moments(np.full(8, 1 / 8), means, [np.eye(2)] * 8)
    on_device = Mixture(
        log_weights=jnp.asarray(mixture.log_weights, dtype="float32"),
        means=jnp.asarray(mixture.means, dtype="float32"),
        scale_tril=jnp.asarray(mixture.scale_tril, dtype="float32"),
    )
    ax = plot_ellipses(mle=on_device, data=mixture.sample(100, seed=0)[0])
    assert [text.get_text() for text in ax.texts] == [str(k) for k in range(8)]


def test_fits_may_disagree_about_the_number_of_components(geyser):
    ax = plot_ellipses(geyser, mle=fit_em(FAITHFUL, 3))
    assert (len(draws_of(ax)), len(dashed(ax))) == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Neither posterior nor mle"),
        ({"data": FAITHFUL}, "Neither posterior nor mle"),
        ({"mle": spread(2)[1]}, "holds no data"),
        ({"mle": spread(3)[1], "data": FAITHFUL}, "have 2 features and a mixture has 3"),
        ({"mle": spread(2)[1], "data": FAITHFUL, "probability": 1.0}, "probability is 1.0"),
        ({"mle": spread(2)[1], "data": FAITHFUL, "seed": -1}, "seed is -1"),
    ],
)
def test_unusable_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        plot_ellipses(**arguments)
    assert not plt.get_fignums()


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"posterior": spread(2)[1]}, "posterior is of type Mixture"),
        ({"mle": "faithful"}, "mle of type str"),
        ({"mle": spread(2)[1], "data": FAITHFUL, "probability": "most"}, "probability is 'most'"),
        ({"mle": spread(2)[1], "data": FAITHFUL, "seed": 1.5}, "seed is 1.5"),
    ],
)
def test_arguments_of_wrong_types_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        plot_ellipses(**arguments)


def test_batched_or_broken_mixtures_are_refused(geyser):
    broken = dataclasses.replace(geyser.mle.mixture, scale_tril=np.full((2, 2, 2), np.nan))
    for mixture in (geyser.draws, broken):
        with pytest.raises(ArgumentError, match="batched or not finite"):
            plot_ellipses(mle=mixture, data=FAITHFUL)


def test_no_draws_are_refused(geyser):
    with pytest.raises(ArgumentError, match="n_draws is 0"):
        plot_ellipses(geyser, n_draws=0)


def test_axes_are_refused_where_a_grid_is_needed(flowers):
    ax = plt.subplots()[1]
    with pytest.raises(ArgumentError, match="ax is given for 4 features"):
        plot_ellipses(mle=flowers, ax=ax)


def test_data_that_are_not_finite_are_refused(geyser):
    with pytest.raises(DataError):
        plot_ellipses(geyser, data=[[1.0, np.inf], [2.0, 3.0], [4.0, 4.0]])
