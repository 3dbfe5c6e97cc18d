"""How often intervals of 90 % hold the truth where cells are missing at random, and those of complete rows alone.

Rows with a large first cell mostly lack the second, so that the complete ones are no fair sample.
"""

import numpy as np
import pytest
from proportions import mean_and_error
from recording import Record, Row
from scipy.stats import norm

import bayes_gmm as bg

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")]

LEVEL, DATA_SETS, N_POINTS = 0.9, 200, 400
TRUTH = bg.Mixture.from_moments(
    [0.4, 0.6], [[0.0, 0.0], [4.0, 2.0]], [[[1.0, 0.5], [0.5, 1.0]], [[1.0, -0.3], [-0.3, 1.0]]]
)


def with_gaps(seed: int) -> np.ndarray:
    """Rows 60 % of which lack the second column, those with the largest first one mostly: 30 % of the cells."""
    x = TRUTH.sample(N_POINTS, seed=seed)[0]
    disturbed = x[:, 0] + np.random.default_rng(seed).normal(size=N_POINTS)
    x[np.argsort(disturbed)[-int(0.6 * N_POINTS) :], 1] = np.nan
    return x


def hits(missing: str, data_sets: int) -> np.ndarray:
    """Whether intervals of estimate plus or minus hold the truth, (data set, parameter)."""
    found = []
    for seed in range(data_sets):
        fit = bg.fit_em(with_gaps(seed), 2, start=TRUTH, missing=missing)
        errors = fit.errors()
        reaches = {name: norm.ppf((1 + LEVEL) / 2) * errors[name] for name in ("weights", "means", "scales")}
        inside = [np.abs(getattr(fit.mixture, name) - getattr(TRUTH, name)) <= reach for name, reach in reaches.items()]
        found.append(np.concatenate([np.ravel(each) for each in inside])[1:])  # both weights have one interval
    return np.array(found)


def test_intervals_with_gaps_hold_the_truth_and_those_of_complete_rows_do_not(record: Record) -> None:
    n = record.number(DATA_SETS)
    lines, numbers = [], {}
    for name, missing in {"gaps integrated out": "integrate", "control: complete rows alone": "drop"}.items():
        found = hits(missing, n)
        mean, error = mean_and_error(found)
        is_control = missing == "drop"
        # Intervals from a curvature are a little short where 160 rows tell of a column.
        holds = (abs(mean - LEVEL) < 4 * max(error, 0.01)) != is_control
        what = f"maximum likelihood, {name}: {LEVEL:.0%} intervals where 30 % of the cells are missing at random"
        values = f"{100 * mean:.0f}±{100 * error:.0f} %, weights {found[:, 0].mean():.0%}"
        setting = f"{N_POINTS} points, {n} data sets"
        lines.append(Row(what, setting, "not 90 %" if is_control else "90 %", values, holds))
        numbers[name] = {"mean": mean, "error": error, "by parameter": found.mean(0)}
    record("missing_cells", lines, {"level": LEVEL, "data sets": n, "seeds": "number of the data set"}, numbers)
    assert all(line.holds for line in lines)
