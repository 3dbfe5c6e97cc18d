"""The report is one complete and well-formed file, whose first screen has the verdict."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.assessment.compare import Comparison
from bayes_gmm.posterior.verdict import VerdictStatus
from bayes_gmm.reporting import write_report

pytestmark = pytest.mark.numpyro

_OPTIONAL_END = {"td", "th", "tr", "li", "p"}
_VOID = {"meta", "link", "img", "br", "!doctype"}


class Page(HTMLParser):
    """Parser that collects the references and texts of a page, and tags that are closed in the wrong order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.references: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.references += [value for name, value in attributes if name in ("src", "href") and value]
        if tag == "img":
            self.pictures.append(named)
        if tag not in _VOID | _OPTIONAL_END:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _OPTIONAL_END and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def comparison(faithful_mle: bg.EMFit, faithful_posterior: bg.Posterior) -> Comparison:
    return bg.compare(faithful_mle, faithful_posterior)


@pytest.fixture(scope="module")
def html(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = bg.report(comparison.mle, comparison.posterior, tmp_path_factory.mktemp("report") / "faithful.html")
    return path.read_text(encoding="utf-8")


def test_the_file_stands_alone(html: str) -> None:
    page = Page(html)
    assert not page.wrong
    assert not page.open
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert "<script" not in html
    assert len(html.encode()) < 3_000_000


def test_every_link_leads_to_a_heading(html: str) -> None:
    targets = re.findall(r'href="#(\w+)"', html)
    assert len(targets) >= 5
    assert targets == re.findall(r'<h2 id="(\w+)"', html)


def test_pictures_have_words_and_bytes(html: str) -> None:
    pictures = Page(html).pictures
    assert len(pictures) >= 7
    for picture in pictures:
        assert len(picture["alt"]) > 20
        assert picture["src"].startswith("data:image/png;base64,iVBOR")
        assert 300 < int(picture["width"]) < 1200


def test_no_figure_stays_open(comparison: Comparison, tmp_path: Path) -> None:
    before = plt.get_fignums()
    write_report(comparison, tmp_path / "report.html")
    assert plt.get_fignums() == before


def test_verdict_and_what_is_hidden_come_before_everything_else(html: str, comparison: Comparison) -> None:
    first_screen = html[html.index("<h1>") : html.index("<h2")]
    assert comparison.posterior.verdict.summary in first_screen
    assert all(sentence in first_screen for sentence in comparison.hidden())


def test_tables_hold_the_numbers(html: str, comparison: Comparison) -> None:
    for row in comparison.rows:
        assert f">{row.name}<td>" in html
    assert f"{comparison.loo.elpd:.2f}" in html
    (uncertain,) = comparison.uncertain_points
    assert f"<td style=text-align:left>{uncertain}<td>2.9<td>63" in html


def test_model_priors_and_reproduction_are_told(html: str, comparison: Comparison) -> None:
    assert "each component has a covariance matrix of its own" in html
    assert "Normal(loc=[eruptions 3.35, waiting 69.5]" in html
    assert html.count("<math") == 2
    assert "bg.datasets.load(&#x27;faithful&#x27;)" in html
    assert "num_samples=None" in html
    assert re.search(r"Versions: bayes_gmm [\d.]+, jax", html)


def test_bad_draws_are_the_first_that_is_seen(comparison: Comparison, tmp_path: Path) -> None:
    verdict = replace(
        comparison.posterior.verdict,
        status=VerdictStatus.BAD,
        sampling=VerdictStatus.BAD,
        reasons=("Chain 1 never moved.",),
    )
    bad = replace(comparison, posterior=replace(comparison.posterior, verdict=verdict))
    html = write_report(bad, tmp_path / "bad.html").read_text()
    head = html[html.index("<h1>") : html.index("<h3>")]
    assert 'class="verdict BAD"' in head
    assert "The draws cannot be trusted." in head
    assert "Chain 1 never moved." in head


@pytest.mark.parametrize(("n_features", "n_components"), [(1, 1), pytest.param(4, 2, marks=pytest.mark.slow)])
def test_any_number_of_features_and_any_name_give_a_page(
    n_features: int, n_components: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bayes_gmm.reporting.MOST_ROWS", 20)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(60, n_features)) + 6 * k for k in range(n_components)])
    x = bg.Table(x, ("<b>a</b>", "c & $d$", "e", "f")[:n_features], name="<i>")
    mle = bg.fit_em(x, n_components)
    posterior = bg.fit_nuts(x, n_components, start=mle, num_samples=50, num_chains=2, progress=False)
    page = bg.report(mle, posterior, tmp_path / "any.html").read_text()
    assert not Page(page).wrong
    assert len(page.encode()) < 3_000_000
    # Weights, means and sds come before correlations.
    shown = {name: page.count(f"<td style=text-align:left>{name}[") for name in ("weight", "mean", "sd", "correlation")}
    assert list(shown.values()) == ([1, 1, 1, 0] if n_features == 1 else [2, 8, 8, 2])
    assert ("are left out here" in page) == (n_features == 4)
    # Names are text and not HTML.
    assert "<b>a</b>" not in page
    assert "&lt;b&gt;a&lt;/b&gt;" in page
    assert "<h1>&lt;i&gt;" in page


def test_a_path_that_cannot_be_written_is_an_error_before_anything_is_drawn(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bayes_gmm.reporting._html", lambda *_: pytest.fail("drew first"))
    with pytest.raises(bg.OutputError, match="cannot be written"):
        write_report(comparison, tmp_path / "missing" / "report.html")
    with pytest.raises(bg.OutputError, match="cannot be written"):
        write_report(comparison, tmp_path)
