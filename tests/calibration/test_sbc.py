"""Simulation-based calibration of NUTS (`sbc`): the ranks of the truth are uniform.

Uniformity is judged by the whole distribution function at once (`uniformity`). Each test of a sampler on one setting
errs with a probability of at most `FAMILY_WISE_ERROR`.

Truths come from priors under which most posteriors have one mode, and from the default prior, many of whose mixtures
overlap or have components without points. All are sampled by default, until done, and no data set is left out
because of its verdict; how many have few effective draws all the same is recorded.
"""

import jax
import numpy as np
import pytest
from recording import Record
from sbc import (
    CHAINS,
    DATA_SETS,
    DEFAULT_SETTINGS,
    FEWEST_EFFECTIVE,
    OF_DEFAULT,
    SETTINGS,
    Calibration,
    below_truth,
    calibration,
    collected,
    numbers,
    ranks_under,
    rejected,
    row,
    settings,
    simulated,
)
from uniformity import DRAWS, p_value

# The maximum of the likelihood of few points is often a collapse; the posterior has none.
pytestmark = [pytest.mark.slow, pytest.mark.numpyro, pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")]

SAMPLED = {"chains": CHAINS, "sampled": "by default, until done"}


def test_the_band_has_the_coverage_it_claims() -> None:
    rng = np.random.default_rng(5)
    values = np.array([p_value(rng.integers(0, DRAWS + 1, DATA_SETS)) for _ in range(4000)])
    for level in (0.5, 0.1, 0.01):
        # At most the level, for the smallest tail probability has few values.
        error = np.sqrt(level * (1 - level) / len(values))
        assert 0.8 * level - 4 * error < np.mean(values <= level) < level + 4 * error


@pytest.mark.parametrize("name", SETTINGS)
def test_nuts_is_calibrated(name: str, record: Record) -> None:
    n_data_sets = record.number(DATA_SETS)
    found = calibration(name, n_data_sets)
    more = {"verdicts": found.statuses, f"below {FEWEST_EFFECTIVE:.0f} effective draws": found.n_stuck}
    lines = [row("NUTS: rank of the truth among draws", name, found.nuts)]
    record(f"sbc_nuts_{code(name)}", lines, settings(n_data_sets, **SAMPLED, **more), numbers(found.nuts))
    assert len(found.nuts["log-likelihood"]) == n_data_sets
    assert rejected(found.nuts) == set()


@pytest.mark.parametrize("name", DEFAULT_SETTINGS)
def test_nuts_is_calibrated_under_the_default_prior(name: str, record: Record) -> None:
    n_data_sets = record.number(OF_DEFAULT)
    found = calibration(name, n_data_sets)
    setting = f"{name}; {found.n_stuck} of {n_data_sets} below {FEWEST_EFFECTIVE:.0f} effective draws"
    line = row("NUTS: rank of the truth among draws", setting, found.nuts)
    record(f"sbc_nuts_{code(name)}", [line], of_default(found, n_data_sets), numbers(found.nuts))
    assert rejected(found.nuts) == set()


def of_default(found: Calibration, n_data_sets: int) -> dict[str, object]:
    more = {"verdicts": found.statuses, f"below {FEWEST_EFFECTIVE:.0f} effective draws": found.n_stuck}
    return settings(n_data_sets, **SAMPLED, **more, table="Old Faithful in standard units")


# Negative controls


@pytest.mark.parametrize("name", SETTINGS)
def test_draws_with_too_little_spread_are_noticed(name: str, record: Record) -> None:
    n_data_sets = record.number(DATA_SETS)
    ranks = calibration(name, n_data_sets).shrunk
    line = row("control: NUTS, draws pulled to their mean by 0.7", name, ranks, noticed=len(ranks))
    record(f"sbc_shrunk_{code(name)}", [line], settings(n_data_sets, **SAMPLED), numbers(ranks))
    assert rejected(ranks) == set(ranks)


def test_a_fit_with_another_prior_is_noticed(record: Record) -> None:
    setting, n_data_sets = SETTINGS["K=2, D=1"], record.number(DATA_SETS)
    ranks = ranks_under(setting.prior(inflation=2.0), setting, n_data_sets).nuts
    line = row("control: NUTS, prior variances doubled", "K=2, D=1", ranks, noticed=1)
    record("sbc_other_prior", [line], settings(n_data_sets, **SAMPLED), numbers(ranks))
    assert "log-likelihood" in rejected(ranks)


@pytest.mark.parametrize("name", DEFAULT_SETTINGS)
def test_default_draws_with_too_little_spread_are_noticed(name: str, record: Record) -> None:
    n_data_sets = record.number(OF_DEFAULT)
    found = calibration(name, n_data_sets)
    line = row("control: NUTS, draws pulled to their mean by 0.7", name, found.shrunk, noticed=1)
    record(f"sbc_shrunk_{code(name)}", [line], of_default(found, n_data_sets), numbers(found.shrunk))
    assert line.holds


def test_scales_that_follow_all_data_are_noticed(record: Record) -> None:
    """The default of version 0.1, from the same table."""
    name, n_data_sets = "default prior, K=2, D=1", record.number(OF_DEFAULT)
    setting = DEFAULT_SETTINGS[name]
    found = ranks_under(setting.former_prior(), setting, n_data_sets)
    line = row("control: NUTS, prior of the scales from the variance of all data", name, found.nuts, noticed=1)
    record("sbc_other_prior_default", [line], of_default(found, n_data_sets), numbers(found.nuts))
    assert line.holds


def test_only_the_log_likelihood_notices_draws_that_ignore_the_data(record: Record) -> None:
    setting, n_data_sets = SETTINGS["K=2, D=1"], record.number(DATA_SETS)
    truths, data = simulated(setting, n_data_sets)
    rows = []
    for i, x in enumerate(data):
        draws = setting.prior().sample(DRAWS, 2, 1, seed=100 + i)
        below = below_truth(jax.tree.map(lambda leaf, i=i: leaf[i], truths), draws, x)
        rows.append({quantity: under.sum() for quantity, under in below.items()})
    ranks = collected(rows)
    line = row("control: draws of the prior, data ignored", "K=2, D=1", ranks, noticed=1)
    record("sbc_prior_draws", [line], settings(n_data_sets), numbers(ranks))
    assert rejected(ranks) == {"log-likelihood"}


def code(name: str) -> str:
    """Name of a setting for a file."""
    return name.replace("=", "").replace(", ", "_").replace(" ", "_")
