"""The notebook's table of parameters: as many rows as fit, found by building few tables."""

from math import log2

import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.assessment import parameter_comparison
from bayes_gmm.assessment.parameter_comparison import Row, as_cells, html
from bayes_gmm.core.export import html_table

FLAGS = ("", "", "", "skew", "boundary")


def many_rows(n_rows: int, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)
    return [
        Row(
            component=number // 10,
            parameter="mean",
            feature=f"column {number % 10}",
            estimate=float(rng.normal()),
            standard_error=float(rng.uniform(0.1, 1)),
            mean=float(rng.normal()),
            sd=float(rng.uniform(0.1, 100)),
            lower=-1.0,
            upper=1.0,
            r_hat=1.0,
            ess=400.0,
            flag=FLAGS[rng.integers(len(FLAGS))],
        )
        for number in range(n_rows)
    ]


def by_trying_every_count(rows: list[Row], most_bytes: int) -> str:
    ranked = sorted(rows, key=lambda row: (not row.flag, -abs(row.shift)))
    for count in range(len(rows), -1, -1):
        shown = [row for row in rows if any(row is kept for kept in ranked[:count])]
        left_out = f"<p>{len(rows) - count} parameters that move less are left out." if count < len(rows) else ""
        text = (html_table(*as_cells(shown, diagnostics=False)) if shown else "") + left_out
        if len(text.encode()) <= most_bytes or not count:
            return text
    raise AssertionError


@pytest.mark.parametrize("n_rows", [3, 12, 45, 60])
@pytest.mark.parametrize("most_bytes", [10, 150, 300, 1000, 2500, 4000, 10**6])
def test_the_html_shows_as_many_rows_as_fit(n_rows: int, most_bytes: int) -> None:
    rows = many_rows(n_rows, seed=n_rows)
    assert html(rows, most_bytes) == by_trying_every_count(rows, most_bytes)


@pytest.mark.parametrize("most_bytes", [10, 2500, 20_000])
def test_few_tables_are_built_and_the_html_keeps_within_the_limit(
    most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, n_built = many_rows(660), 0

    def counting(*arguments: object) -> str:
        nonlocal n_built
        n_built += 1
        return html_table(*arguments)

    monkeypatch.setattr(parameter_comparison, "html_table", counting)
    text = html(rows, most_bytes)
    assert n_built <= log2(len(rows)) + 3
    assert len(text.encode()) <= max(most_bytes, len("<p>660 parameters that move less are left out."))
    assert text.endswith("parameters that move less are left out.")


@pytest.mark.numpyro
@pytest.mark.parametrize(("of_em", "of_posterior"), [("diag", "diag"), ("spherical", "diag"), ("full", "diag")])
def test_correlations_have_rows_where_one_of_the_fits_has_any(
    faithful: bg.Table, of_em: str, of_posterior: str
) -> None:
    mle = bg.fit_em(faithful, 2, covariance_type=of_em)
    posterior = bg.fit_nuts(
        faithful, 2, covariance_type=of_posterior, num_warmup=50, num_samples=20, num_chains=1, progress=False
    )
    rows = bg.compare(mle, posterior).rows
    assert any(row.parameter == "correlation" for row in rows) == (of_em == "full")
    assert {row.parameter for row in rows} >= {"weight", "mean", "sd"}
