"""The verdict is good for good draws and catches each planted failure."""

import arviz as az
import numpy as np
import pytest
import xarray as xr

import bayes_gmm as bg
from bayes_gmm.posterior.diagnostics import Jumps, judge, summary
from bayes_gmm.posterior.explanations import explain
from bayes_gmm.posterior.relabelling import Relabelling
from bayes_gmm.posterior.verdict import VerdictStatus

pytestmark = pytest.mark.numpyro


def tree_with(posterior: bg.Posterior, **changes: object) -> object:
    """Copy of the tree in which some variables are replaced; the keywords are group__variable."""
    tree = posterior.tree.copy(deep=True)
    for key, values in changes.items():
        group, name = key.split("__")
        tree[group][name].values[...] = values
    return tree


def verdict(posterior: bg.Posterior, **changes: object) -> object:
    tree = tree_with(posterior, **changes)
    return judge(tree, posterior.relabelling, explanations=explain(tree, np.zeros(4, int), np.ones(1)))


def test_good_draws_have_no_reasons(faithful_posterior: bg.Posterior) -> None:
    found = verdict(faithful_posterior)
    assert found.status is VerdictStatus.GOOD
    assert found.reasons == ()


def test_rhat_and_ess_are_arviz(faithful_posterior: bg.Posterior) -> None:
    table = az.summary(faithful_posterior.tree, round_to="none")
    found = faithful_posterior.verdict
    assert found.max_rhat["posterior"] == pytest.approx(table["r_hat"].max(), rel=1e-12)
    tails = az.ess(faithful_posterior.tree["posterior"].to_dataset(), method="tail", prob=(0.05, 0.95))
    smallest = min(table["ess_bulk"].min(), *(float(values.min()) for values in tails.values()))
    assert found.min_ess["posterior"] == pytest.approx(smallest, rel=1e-12)


def test_summary_is_numpy(faithful_posterior: bg.Posterior) -> None:
    draws = faithful_posterior.draws.weights[..., 0]
    table = summary(faithful_posterior.tree["posterior"].to_dataset(), probability=0.94)
    found = {name: float(values["weights"][0]) for name, values in table.items()}
    assert found["mean"] == pytest.approx(draws.mean(), rel=1e-12)
    assert found["sd"] == pytest.approx(draws.std(ddof=1), rel=1e-10)
    assert (found["lower"], found["upper"]) == pytest.approx(np.quantile(draws, [0.03, 0.97]), rel=1e-12)


def one_chain(posterior: bg.Posterior) -> xr.DataTree:
    """All draws as those of one chain, one chain after another, so that its halves are long enough to agree."""
    groups = {name: posterior.tree[name].to_dataset() for name in ("posterior", "invariants", "sample_stats")}
    return xr.DataTree.from_dict({name: end_to_end(group) for name, group in groups.items()})


def end_to_end(group: xr.Dataset) -> xr.Dataset:
    joined = xr.concat([group.isel(chain=[chain]) for chain in range(group.sizes["chain"])], "draw", join="override")
    return joined.assign_coords(draw=np.arange(joined.sizes["draw"]))


def test_one_chain_is_judged_by_its_halves(faithful_posterior: bg.Posterior) -> None:
    tree = one_chain(faithful_posterior)
    found = judge(tree, faithful_posterior.relabelling, explanations=explain(tree, np.zeros(1, int), np.ones(1)))
    assert found.status is VerdictStatus.GOOD
    weight = tree["posterior"]["weights"].values[0, :, :1]
    halves = xr.Dataset({"weight": (("chain", "draw"), weight.reshape(2, -1))})
    table = summary(tree["posterior"].to_dataset(), probability=0.94)
    assert float(table["r_hat"]["weights"][0]) == pytest.approx(float(az.rhat(halves)["weight"]), rel=1e-12)
    assert float(table["r_hat"]["weights"][0]) <= found.max_rhat["posterior"]


def test_one_chain_that_wanders_off_is_not_good(faithful_posterior: bg.Posterior) -> None:
    tree = one_chain(faithful_posterior)
    for name in ("mixture_mean", "log_likelihood"):
        values = tree["invariants"][name].values
        values[:, values.shape[1] // 2 :] += values.std()
    found = judge(tree, faithful_posterior.relabelling, explanations=explain(tree, np.zeros(1, int), np.ones(1)))
    assert found.status is VerdictStatus.BAD
    assert "disagree" in found.reasons[0]


def test_what_one_chain_or_one_start_cannot_see_is_said(faithful: bg.Table) -> None:
    few = {"num_samples": 50, "num_warmup": 100, "progress": False}
    posterior = bg.fit_nuts(faithful, 2, num_chains=1, start=bg.fit_em(faithful, 2, n_starts=1), **few)
    notes = " ".join(posterior.verdict.notes)
    assert "only chain" in notes
    assert "one start only" in notes
    assert "nan" not in str(posterior.verdict)


def test_notes_are_silent_where_there_is_nothing_to_say(faithful_posterior: bg.Posterior) -> None:
    assert faithful_posterior.verdict.notes == ()


def test_a_frozen_chain_is_bad(faithful_posterior: bg.Posterior) -> None:
    lp = faithful_posterior.tree["sample_stats"]["lp"].values.copy()
    lp[2] = lp[2, 0]
    found = verdict(faithful_posterior, sample_stats__lp=lp)
    assert found.status is VerdictStatus.BAD
    assert "Chain 2 never moved" in found.reasons[0]


def test_chains_that_all_froze_in_one_place_are_bad(faithful_posterior: bg.Posterior) -> None:
    tree = faithful_posterior.tree.copy(deep=True)
    for group in ("posterior", "invariants", "sample_stats"):
        for variable in tree[group].data_vars.values():
            variable.values[...] = variable.values[:1, :1]
    assert judge(tree, faithful_posterior.relabelling).status is VerdictStatus.BAD


def test_chains_in_different_explanations_are_bad(faithful_posterior: bg.Posterior) -> None:
    values = faithful_posterior.tree["invariants"]["log_likelihood"].values.copy()
    values[0] -= 5 * values.std()
    found = verdict(faithful_posterior, invariants__log_likelihood=values)
    assert found.status is VerdictStatus.BAD
    assert "2 different explanations" in found.reasons[0]


def test_chains_that_drift_apart_a_little_are_too_short_not_different(faithful_posterior: bg.Posterior) -> None:
    values = faithful_posterior.tree["invariants"]["log_likelihood"].values.copy()
    values[0] -= 0.5 * values.std()
    found = verdict(faithful_posterior, invariants__log_likelihood=values)
    assert found.status is not VerdictStatus.GOOD
    assert "though none stands apart" in found.reasons[0]


def test_label_switching_alone_is_doubtful_not_bad(faithful_posterior: bg.Posterior) -> None:
    weights = faithful_posterior.tree["posterior"]["weights"].values.copy()
    weights[0] = weights[0, :, ::-1]
    found = verdict(faithful_posterior, posterior__weights=weights)
    assert found.status is VerdictStatus.DOUBTFUL
    assert "agree on the density" in found.reasons[0]
    assert found.sampling is VerdictStatus.GOOD
    assert found.components is VerdictStatus.DOUBTFUL


def drifting(posterior: bg.Posterior) -> dict[str, np.ndarray]:
    """An invariant that has not mixed, though no chain stands apart."""
    values = posterior.tree["invariants"]["log_likelihood"].values
    return {"invariants__log_likelihood": values + 0.3 * values.std() * np.arange(4)[:, None]}


def test_few_divergences_count_where_the_invariants_have_not_mixed(faithful_posterior: bg.Posterior) -> None:
    diverging = np.random.default_rng(0).random((4, 1000)) < 0.001
    mixed = verdict(faithful_posterior, sample_stats__diverging=diverging)
    assert mixed.status is VerdictStatus.GOOD
    assert mixed.n_divergent == diverging.sum()
    assert f"{diverging.sum()} of 4000 transitions diverged, but R-hat" in mixed.notes[0]
    not_mixed = verdict(faithful_posterior, sample_stats__diverging=diverging, **drifting(faithful_posterior))
    assert not_mixed.sampling is not VerdictStatus.GOOD
    assert any("Raise target_accept_prob" in reason for reason in not_mixed.reasons)


def test_many_divergences_count_unless_proposals_jump(faithful_posterior: bg.Posterior) -> None:
    diverging = np.random.default_rng(0).random((4, 1000)) < 0.05
    tree = tree_with(faithful_posterior, sample_stats__diverging=diverging)
    assert judge(tree, faithful_posterior.relabelling).sampling is VerdictStatus.BAD
    jumping = judge(tree, faithful_posterior.relabelling, jumps=Jumps(np.full(4, 0.3), 0.0))
    assert jumping.sampling is VerdictStatus.GOOD


def test_cut_trajectories_and_slow_energy_count_where_the_invariants_have_not_mixed(
    faithful_posterior: bg.Posterior,
) -> None:
    walk = np.random.default_rng(0).standard_normal((4, 1000)).cumsum(1)
    changes = {"sample_stats__reached_max_tree_depth": True, "sample_stats__energy": walk}
    assert verdict(faithful_posterior, **changes).status is VerdictStatus.GOOD
    found = verdict(faithful_posterior, **changes, **drifting(faithful_posterior))
    assert any("largest tree depth" in reason for reason in found.reasons)
    assert any("BFMI" in reason for reason in found.reasons)


def test_too_short_a_run_is_said(faithful: bg.Table, faithful_mle: bg.EMFit) -> None:
    short = bg.fit_nuts(faithful, 2, start=faithful_mle, num_samples=20, num_chains=2, progress=False)
    assert short.verdict.status is not VerdictStatus.GOOD
    assert any("effective sample size" in reason for reason in short.verdict.reasons)


def test_ambiguous_components_are_named(faithful_posterior: bg.Posterior) -> None:
    shares = np.ones((4, 1000, 2))
    shares[:, :200, 1] = 0.3
    relabelling = Relabelling(faithful_posterior.relabelling.permutations, shares)
    found = judge(faithful_posterior.tree, relabelling)
    assert found.status is VerdictStatus.DOUBTFUL
    assert "In 20% of the draws component 1" in found.reasons[0]


def test_nan_draws_never_pass(faithful_posterior: bg.Posterior) -> None:
    values = faithful_posterior.tree["invariants"]["log_likelihood"].values.copy()
    values[1, 3] = np.nan
    assert verdict(faithful_posterior, invariants__log_likelihood=values).status is VerdictStatus.BAD


def test_more_components_than_the_data_ask_for_are_not_called_good() -> None:
    galaxies = bg.datasets.load("galaxies")
    posterior = bg.fit_nuts(galaxies, 6, num_samples=300, progress=False)
    assert posterior.verdict.status is not VerdictStatus.GOOD
    assert posterior.tree["sample_stats"]["diverging"].mean() < 0.05


def test_the_table_says_what_was_found_and_wanted(faithful_posterior: bg.Posterior) -> None:
    found = faithful_posterior.verdict
    shown, html = str(found), found._repr_html_()
    for text in ("GOOD (4000 draws)", f"{found.max_rhat['invariants']:.4f}", "at most 1.01", "at least 400"):
        assert text in shown
        assert text in html.replace("<b>", "").replace("</b>", "")
    assert len(html) < 3000


def test_a_posterior_shows_itself_in_a_notebook(faithful_posterior: bg.Posterior) -> None:
    html = faithful_posterior._repr_html_()
    assert len(html.encode()) < 3000
    assert "2 components, 4 chains of 1000 draws" in html
    assert "<b>GOOD</b>" in html
    assert f"{faithful_posterior.verdict.max_rhat['invariants']:.4f}" in html
