"""How often the maximum-likelihood fit's intervals of 90 % hold the truth (`intervals`).

Standard errors are asymptotic: right where the data are many and the components apart, too small where they are not,
and there this is recorded. Fits are those of the defaults, whose best optimum of few points may be a spurious one; the
same by EM from the truth says how much that does, and fits with doubts are counted apart (`EMFit.doubts`,
`EMFit.error_doubts`). Each parameter is tested by itself, all of a cell by Bonferroni;
errors of mean coverages are those of data sets, for the parameters of one data set are not independent.
"""

import numpy as np
import pytest
from intervals import (
    CELLS,
    DATA_SETS,
    LEVEL,
    METHODS,
    PARAMETERS,
    REPLICATES,
    RESAMPLED,
    Cell,
    Hits,
    gathered,
    hits,
    wald,
)
from proportions import ERROR, mean_and_error, unlike
from recording import Record, Row

import bayes_gmm as bg

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")]

EASY = [cell for cell in CELLS if cell.apart == 5 and cell.n_points == 1000]
SHOWN = [Cell(2, 1, 2.0, 1000), Cell(3, 1, 3.0, 200), Cell(3, 1, 2.0, 50)]
NAMES = {name: name for name in METHODS} | {"near": "information at the optimum near the truth"}
DOUBTABLE = [Cell(2, 1, 2.0, 200), Cell(2, 1, 3.0, 50), Cell(3, 1, 3.0, 200)]
HARD = [cell for cell in CELLS if cell.apart == 2 and cell.n_points == 50]


def of_cell(cell: Cell, record: Record) -> Hits:
    return hits(cell, record.number(DATA_SETS), record.number(RESAMPLED))


def by_kind(found: Hits, method: str) -> dict[str, tuple[float, float]]:
    """Mean coverage and its error of each kind of parameter, and of all."""
    of = {kind: found.of[method][:, found.kinds == kind] for kind in PARAMETERS} | {"all": found.of[method]}
    return {kind: mean_and_error(values) for kind, values in of.items() if len(values) > 1}


def shown(found: Hits, method: str) -> str:
    """Coverage of weights, means and scales in percent, and fits without intervals."""
    numbers = [f"{100 * mean:.0f}±{100 * error:.0f}" for kind, (mean, error) in by_kind(found, method).items()][:-1]
    without = f"; {found.without[method]} fits without" if found.without[method] else ""
    return " / ".join(numbers) + without


def numbers(found: Hits) -> dict[str, dict]:
    return {
        method: {
            "n": len(values),
            "without": found.without[method],
            "coverage": by_kind(found, method),
            "p of all at nominal": unlike(values, LEVEL) if len(values) > 1 else None,
        }
        for method, values in found.of.items()
    }


def settings(record: Record) -> dict[str, object]:
    return {
        "level": LEVEL,
        "data sets": record.number(DATA_SETS),
        "of these resampled": record.number(RESAMPLED),
        "replicates": REPLICATES,
        "seeds": "number of the data set",
    }


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_intervals_cover(cell: Cell, record: Record) -> None:
    found = of_cell(cell, record)
    holds = all(unlike(found.of[method], LEVEL) > ERROR and not found.without[method] for method in METHODS)
    values = [f"{name} {shown(found, method)}" for method, name in NAMES.items()]
    what = f"{LEVEL:.0%} intervals of the MLE hold true weights / means / scales"
    lines = [Row(what, str(cell), "90 / 90 / 90 %", "; ".join(values), holds, cell in (*EASY, *SHOWN))]
    name = str(cell).replace("=", "").replace(", ", "_").replace(" ", "_")
    record(f"coverage_{name}", lines, settings(record) | cell._asdict(), numbers(found))
    if cell in EASY:
        assert not any(found.without[method] for method in ("information", "sandwich"))
        assert unlike(found.of["information"], LEVEL) > ERROR
        assert unlike(found.of["sandwich"], LEVEL) > ERROR


def test_doubts_tell_the_fits_whose_intervals_fail(record: Record) -> None:
    """Where components overlap and points are few: without it a user cannot know which errors to believe."""
    lines, both = [], {}
    for cell in DOUBTABLE:
        found = of_cell(cell, record)
        both[str(cell)] = {name: by_kind(found, name)["all"] for name in ("doubted", "trusted")}
        (low, low_error), (high, high_error) = both[str(cell)].values()
        holds = high - low > 3 * np.hypot(low_error, high_error)
        values = "; ".join(f"{name} {len(found.of[name])} fits {shown(found, name)}" for name in both[str(cell)])
        lines.append(Row("the same of fits with doubts and without", str(cell), "fewer with doubts", values, holds))
    record("coverage_doubts", lines, settings(record), both)
    assert all(line.holds for line in lines)


# Negative controls


def test_halved_errors_are_noticed(record: Record) -> None:
    found = [of_cell(cell, record) for cell in EASY]
    values = [unlike(one.of["halved"], LEVEL) for one in found]
    lines = [
        Row("control: standard errors halved", str(cell), "not 90 %", shown(one, "halved"), value < ERROR)
        for cell, one, value in zip(EASY, found, values, strict=True)
    ]
    record(
        "coverage_halved",
        lines,
        settings(record),
        {str(cell): numbers(one) for cell, one in zip(EASY, found, strict=True)},
    )
    assert max(values) < ERROR


def test_where_components_overlap_and_points_are_few_intervals_are_too_short(record: Record) -> None:
    """Known to the theory, so a test that does not see it sees nothing."""
    for cell in HARD:
        assert unlike(of_cell(cell, record).of["information"], LEVEL) < ERROR


def pseudo_true(scale: float, apart: float) -> bg.Mixture:
    """The mixture of Gaussians nearest to two Laplace distributions, by quadrature: grid points weighted by density."""
    grid = np.linspace(-30, apart + 30, 40_001)
    density = sum(share * np.exp(-np.abs(grid - at) / scale) for share, at in ((0.45, 0.0), (0.55, apart)))
    labels = (grid > apart / 2).astype(int)
    weights = density / density.sum() * len(grid)
    return bg.fit_em(grid[:, None], 2, sample_weight=weights, start=labels, tol=1e-12).mixture


def test_only_the_sandwich_covers_where_components_are_no_gaussians(record: Record) -> None:
    scale, apart, n_points = np.sqrt(0.5), 8.0, 1000
    truth, found = pseudo_true(scale, apart), {"information": [], "sandwich": []}
    n_data_sets = record.number(DATA_SETS)
    for i in range(n_data_sets):
        rng = np.random.default_rng(i)
        x = (rng.laplace(scale=scale, size=n_points) + apart * (rng.random(n_points) < 0.55))[:, None]
        # From the means: the question is the error of that optimum, not which one is the highest.
        fit = bg.fit_em(x, 2, start=(x[:, 0] > apart / 2).astype(int))
        for method in found:
            found[method].append(wald(fit, truth, x, method))
    result = gathered(found, np.array(["weights", "means", "means", "scales", "scales"]))
    scales = {method: values[:, result.kinds == "scales"] for method, values in result.of.items()}
    setting = f"two Laplace components, {apart:g} sd apart, N={n_points}"
    sandwich, information = (unlike(scales[method], LEVEL) for method in ("sandwich", "information"))
    what = "wrong model, {}: pseudo-true weights / means / scales"
    lines = [
        Row(what.format("sandwich"), setting, "90 %", shown(result, "sandwich"), sandwich > ERROR),
        Row(
            f"control: {what.format('information')}",
            setting,
            "not 90 %",
            shown(result, "information"),
            information < ERROR,
        ),
    ]
    record("coverage_wrong_model", lines, settings(record), numbers(result))
    assert information < ERROR
    assert scales["sandwich"].mean() > scales["information"].mean() + 0.1
    assert sandwich > ERROR
