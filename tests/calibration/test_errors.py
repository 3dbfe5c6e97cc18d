"""How often intervals of 90 % hold the truth where values have known errors, and where the fit does not know of them.

The truth is a mixture of two components, of which rows are observed with errors of their own and a tenth of the cells
is missing. Both fits make intervals by standard errors from the observed information; the second takes the values for
exact, and its sds hold the errors as well.
"""

import numpy as np
import pytest
from proportions import mean_and_error
from recording import Record, Row

import bayes_gmm as bg

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")]

DATA_SETS, N_POINTS, LEVEL, QUANTILE = 300, 400, 0.9, 1.6448536269514722
TRUTH = bg.Mixture.from_moments([0.4, 0.6], [[0, 0], [4, 1]], [[[1, 0.4], [0.4, 0.8]], [[0.5, -0.2], [-0.2, 0.6]]])
KINDS = ("weights", "means", "scales")


def observed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows with errors and gaps, and the sds of their errors."""
    rng = np.random.default_rng([seed, 1])  # another stream than that of the true values
    true, _ = TRUTH.sample(N_POINTS, seed=seed)
    sds = rng.uniform(0.2, 0.9, true.shape)
    x = true + sds * rng.normal(size=true.shape)
    x[rng.random(N_POINTS) < 0.1, 1] = np.nan
    return x, sds


def hits(fit: bg.EMFit) -> dict[str, np.ndarray]:
    """Whether the interval of each parameter holds the truth, by kind."""
    errors = fit.standard_errors
    return {
        kind: np.ravel(np.abs(getattr(fit.mixture, kind) - getattr(TRUTH, kind)) <= QUANTILE * errors[kind])
        for kind in KINDS
    }


def test_intervals_of_rows_with_errors_hold_the_truth_and_those_of_the_plain_fit_do_not(record: Record) -> None:
    found: dict[str, list[dict[str, np.ndarray]]] = {"known": [], "ignored": []}
    true_values = []
    for seed in range(record.number(DATA_SETS)):
        x, sds = observed(seed)
        known = bg.fit_em(x, 2, errors=sds, start=TRUTH)
        found["known"].append(hits(known))
        found["ignored"].append(hits(bg.fit_em(x, 2, start=TRUTH)))
        mean, sd = known.denoised()
        true_values.append((np.abs(mean - TRUTH.sample(N_POINTS, seed=seed)[0]) <= QUANTILE * sd).mean())
    coverage = {
        name: {kind: mean_and_error(np.stack([one[kind] for one in sets])) for kind in KINDS}
        for name, sets in found.items()
    }
    right = {
        "known": all(abs(mean - LEVEL) < 4 * max(error, 0.01) for mean, error in coverage["known"].values()),
        "ignored": coverage["ignored"]["scales"][0] < 0.5,
    }
    rows = [
        Row(
            f"{LEVEL:.0%} intervals hold true weights / means / sds, errors {name}",
            f"two components, {N_POINTS} rows with errors, a tenth of the cells missing",
            "90 %" if name == "known" else "sds nearly never",
            " / ".join(f"{100 * mean:.0f}±{100 * error:.0f}" for mean, error in kinds.values()),
            right[name],
        )
        for name, kinds in coverage.items()
    ]
    record("errors", rows, {"data_sets": record.number(DATA_SETS), "n_points": N_POINTS}, {"coverage": coverage})
    assert right["known"]
    assert right["ignored"]
    assert abs(np.mean(true_values) - LEVEL) < 0.02
