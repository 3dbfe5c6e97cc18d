"""The figure of missing cells shows their conditional means, their sds, and the seen values beside them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

import bayes_gmm as bg


@pytest.fixture(scope="module")
def fit():
    faithful = bg.datasets.load("faithful")
    x = faithful.values.copy()
    x[::5, 1] = np.nan
    x[::7, 0] = np.nan
    return bg.fit_em(bg.Table(x, faithful.columns, name="faithful", units=faithful.units), 2, n_starts=4)


def test_each_missing_cell_stands_at_its_mean_with_its_sd(fit):
    axes = bg.plot_imputed(fit, num=10)
    assert axes.shape == (1, 2)
    gaps, completed = np.isnan(fit.table.values), fit.completed()
    for column, ax in enumerate(axes.flat):
        seen, dots, means = (points.get_offsets() for points in ax.collections if isinstance(points, PathCollection))
        (bars,) = (lines.get_segments() for lines in ax.collections if isinstance(lines, LineCollection))
        heights = np.diff(np.array(bars)[..., 1], axis=1)[:, 0]
        np.testing.assert_allclose(heights, 2 * completed.sd[gaps[:, column], column])
        assert len(seen) == (~gaps).all(1).sum()
        assert len(dots) == 10 * gaps[:, column].sum()
        np.testing.assert_allclose(means[:, 1], completed.mean[gaps[:, column], column])
        np.testing.assert_allclose(means[:, 0], completed.mean[gaps[:, column], 1 - column])
        assert ax.get_title(loc="left") == f"{gaps[:, column].sum()} missing cells of 272"
    assert axes[0, 1].get_ylabel() == "waiting [min]"
    assert "neither was seen" in {text.get_text() for text in axes[0, 0].figure.legends[0].get_texts()}
    plt.close("all")


def test_columns_of_which_nothing_is_imputed_are_refused():
    x = bg.datasets.load("faithful").values.copy()
    x[::5, 1] = np.nan
    with pytest.raises(bg.ArgumentError, match="No cell of 'x1' is missing"):
        bg.plot_imputed(bg.fit_em(x, 1), features=["x1"])
    with pytest.raises(bg.ArgumentError, match="There is one column"):
        bg.plot_imputed(bg.fit_em(x[:, [1]], 1))


def test_figures_of_components_say_which_points_lack_cells(fit):
    ax = bg.plot_clusters(mle=fit)
    lacking = np.isnan(fit.table.values).any(1).sum()
    assert f"{lacking} points with missing cells" in ax.get_title(loc="left")
    plt.close("all")
