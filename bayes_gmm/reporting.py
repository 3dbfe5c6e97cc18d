"""The report: one HTML file that compares both fits and can be read without this package."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bayes_gmm import plots
from bayes_gmm.assessment.bootstrap import Bootstrap
from bayes_gmm.assessment.compare import Comparison, compare
from bayes_gmm.assessment.parameter_comparison import Row, as_cells
from bayes_gmm.core.export import counted, html_table, output_errors
from bayes_gmm.core.validation import file_path
from bayes_gmm.datasets import catalogue
from bayes_gmm.figure_files import png_of
from bayes_gmm.html_page import (
    bullets,
    code,
    formula,
    operator,
    over,
    page,
    paragraphs,
    picture,
    scrolling,
    symbol,
    wide_table,
)
from bayes_gmm.io.table import Table, column_summary
from bayes_gmm.mixture.noise import Noise, noise_share
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.verdict import Verdict, VerdictStatus

MOST_ROWS = 120
"""Most parameters in the table of the report, which has to stay readable.

Of longer tables the correlations are left out first, and then the parameters with the smallest shift.
"""
_MOST_POINTS = 20
"""Most rows in the table of uncertain points: about a screen; the text below the table says how many are left out."""

_OF_THE_PRIOR = (
    "Shifts are those from the estimate to the posterior mean, in posterior sds. By the prior: how much of it vanishes "
    "as the prior is raised to smaller and smaller powers; the rest the likelihood says by its shape. Sensitivity: the "
    "change of the posterior with the power of a part of the prior, noticeable above 0.05 (Kallioinen and others 2024, "
    "doi 10.1007/s11222-023-10366-5); the part to which it is largest stands beside it."
)

_STRUCTURES = {
    "VVV": "each component has a covariance matrix of its own",
    "EEE": "all components share one covariance matrix",
    "VVI": "each component has standard deviations of its own, and no correlations",
    "EEI": "all components share the standard deviations, and there are no correlations",
    "VII": "each component is a sphere with a standard deviation of its own",
    "EII": "all components are spheres with the same standard deviation",
}

_STRUCTURES_OF_ONE_FEATURE = {
    "E": "all components share one variance",
    "V": "each component has a variance of its own",
}


def report(
    mle: EMFit, posterior: Posterior, path: str | Path, *, bootstrap: Bootstrap | None = None, x_test: Any = None
) -> Path:
    """Write one self-contained HTML file about both fits: verdict, tables, figures, model and how to reproduce them.

    Parameters
    ----------
    mle, posterior, bootstrap, x_test
        As `compare` takes them.
    path
        The file to write.

    Returns
    -------
    Path
        Path of the file, which contains its images and needs no network.

    Raises
    ------
    ArgumentError
        When the two fits cannot be compared.
    OutputError
        When the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import bayes_gmm as bg
    >>> x = bg.datasets.load("galaxies")
    >>> mle = bg.fit_em(x, n_components=3)
    >>> posterior = bg.fit_nuts(x, n_components=3, start=mle, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = bg.report(mle, posterior, f"{folder}/galaxies.html")
    ...     path.stat().st_size < 3_000_000
    True
    """
    path = file_path("path", path)
    return write_report(compare(mle, posterior, bootstrap=bootstrap, x_test=x_test), path)


def write_report(comparison: Comparison, path: str | Path, *, command: str = "") -> Path:
    """Write the report of a comparison; `command` is the command line that created it, if there was one."""
    path = Path(path)
    with output_errors(f"{path} cannot be written"):
        path.open("a").close()  # so that a path that cannot be written is refused before the figures are drawn
        path.write_text(_html(comparison, command), encoding="utf-8")
    return path


def _html(comparison: Comparison, command: str) -> str:
    table, K = comparison.posterior.table, comparison.posterior.draws.n_components
    title = f"{table.name}: {counted(K, 'Gaussian')}"
    features = f"{counted(table.n_features, 'feature')}: {', '.join(table.columns)}"
    lead = f"Maximum likelihood and the posterior side by side. {table.n_points:,} points, {features}."
    sections = [
        ("", _first_screen(comparison)),
        ("Both answers", _both_answers(comparison)),
        ("Points", _points(comparison)),
        ("Can the draws be trusted?", _trust(comparison)),
        ("Data", _data(comparison)),
        ("Model and priors", _model(comparison)),
        ("How to reproduce", _reproduce(comparison, command)),
    ]
    return page(title, lead, sections)


def _first_screen(comparison: Comparison) -> str:
    verdict = comparison.posterior.verdict
    reasons = bullets(verdict.sentences) if verdict.sentences else ""
    box = f'<div class="verdict {verdict.status.name}"><p><b>{_judged(verdict)}</b> {escape(verdict.summary)}</p>'
    return f"{box}{reasons}</div><h3>What the point estimate hides</h3>{bullets(comparison.hidden())}"


def _judged(verdict: Verdict) -> str:
    draws = {
        "GOOD": "The draws are draws from the posterior.",
        "DOUBTFUL": "The draws can be trusted only in part.",
        "BAD": "The draws cannot be trusted.",
    }[verdict.judgements()["sampling"]]
    if verdict.components == VerdictStatus.GOOD:
        return draws
    return f"{draws} Single components cannot be told apart: quote the density, the clusters and sorted quantities."


def _both_answers(comparison: Comparison) -> str:
    mle, posterior = comparison.mle, comparison.posterior
    shown = _worth_showing(comparison.rows)
    left_out = len(comparison.rows) - len(shown)
    rows = html_table(*as_cells(shown, diagnostics=True))
    note = paragraphs(f"{left_out} parameters, correlations first, are left out here.") if left_out else ""
    ellipses = _picture(
        plots.plot_ellipses(posterior, mle=mle),
        "The data with draws from the posterior (thin) and the maximum-likelihood fit (dashed).",
    )
    forest = _picture(
        plots.plot_forest(comparison),
        "Each parameter by both answers: estimate with two standard errors, posterior mean with its interval.",
    )
    return ellipses + scrolling(rows) + note + paragraphs(_OF_THE_PRIOR) + forest + _scores(comparison)


def _worth_showing(rows: Sequence[Row]) -> list[Row]:
    if len(rows) <= MOST_ROWS:
        return list(rows)
    ranked = sorted(rows, key=lambda row: (row.parameter == "correlation", not row.flag, -abs(row.shift)))
    kept = {row.name for row in ranked[:MOST_ROWS]}
    return [row for row in rows if row.name in kept]


def _scores(comparison: Comparison) -> str:
    head = ["predictive quality, in nats", "maximum likelihood", "posterior", "standard error"]
    numbers = ("maximum_likelihood", "posterior", "standard_error")
    rows = [
        [record["score"], *(_with_two_decimals(record[name]) for name in numbers)]
        for record in comparison.records("scores")
    ]
    return scrolling(html_table(head, rows)) + paragraphs(*comparison.notes)


def _points(comparison: Comparison) -> str:
    posterior = comparison.posterior
    figures = [
        _picture(
            plots.plot_uncertainty(posterior),
            "How uncertain the component of each point is, and how uncertain that uncertainty is itself.",
        )
    ]
    if posterior.draws.n_components > 1:
        figures.append(
            _picture(
                plots.plot_coclustering(posterior),
                "Probability that two points come from the same component, which no relabelling can change.",
            )
        )
    return (
        paragraphs(comparison.points.sentence()) + _known(comparison) + _uncertain_points(comparison) + "".join(figures)
    )


def _known(comparison: Comparison) -> str:
    """Cross table of known labels and components, where there are labels."""
    found = comparison.label_agreement
    if found is None:
        return ""
    head = [found.name, *(f"component {k}" for k in range(found.counts.shape[1]))]
    rows = [[name, *map(str, counts)] for name, counts in zip(found.classes, found.counts.tolist(), strict=True)]
    return paragraphs(f"{found.sentence()}.") + scrolling(html_table(head, rows))


def _uncertain_points(comparison: Comparison) -> str:
    """Table of the points with an uncertain component, starting with the most uncertain."""
    table, points = comparison.posterior.table, comparison.points
    order = points.uncertain[np.argsort(-points.entropy[points.uncertain], kind="stable")]
    if not len(order):
        return ""
    shares = [f"p(component {k})" for k in range(points.responsibilities.shape[1])]
    head = ["row", *table.columns, *shares, *([] if points.noise_sd is None else ["p(noise)"]), "by MLE"]
    body = [_point(comparison, n) for n in order[:_MOST_POINTS].tolist()]
    rest = len(order) - len(body)
    return scrolling(html_table(head, body)) + (paragraphs(f"{rest} more are not listed.") if rest else "")


def _point(comparison: Comparison, n: int) -> list[str]:
    points, values = comparison.points, comparison.posterior.table.values[n]
    shares = list(zip(points.responsibilities[n], points.responsibilities_sd[n], strict=True))
    if points.noise_sd is not None:
        shares.append((noise_share(points.responsibilities[n]), points.noise_sd[n]))
    by_mle = int(points.mle_components[n])
    named = str(by_mle) if by_mle >= 0 else "noise"
    return [str(n), *(f"{value:.6g}" for value in values), *(f"{p:.2f} ± {sd:.2f}" for p, sd in shares), named]


def _trust(comparison: Comparison) -> str:
    posterior = comparison.posterior
    figures = [_picture(plots.plot_diagnostics(posterior), "The chains, on quantities that no relabelling can change.")]
    if posterior.draws.n_components > 1:
        figures.append(
            _picture(plots.plot_relabelling(posterior), "The same draws before and after label switching is undone.")
        )
    figures += [
        _picture(plots.plot_ppc(posterior), "Data replicated from the posterior against the data."),
        _picture(plots.plot_prior_posterior(posterior), "What the data add to the prior."),
    ]
    explanations = [str(explanation) for explanation in posterior.explanations]
    several = bullets(explanations) if len(explanations) > 1 else ""
    return scrolling(posterior.verdict.table()) + several + "".join(figures)


def _data(comparison: Comparison) -> str:
    table = comparison.posterior.table
    units = table.units or ("",) * table.n_features
    head = ["column", "unit", "mean", "sd", "smallest", "largest"]
    rows = [
        [name, unit, *(f"{value:.4g}" for value in row)]
        for name, unit, row in zip(table.columns, units, column_summary(table), strict=True)
    ]
    words = [text for text in (*table.remarks, table.source, table.caveats) if text]
    return scrolling(html_table(head, rows, n_left=2)) + paragraphs(*words) + _gaps(comparison)


def _gaps(comparison: Comparison) -> str:
    """What missing cells are estimated to be, and how the answer changes against the plain fit to complete rows."""
    moved, posterior = comparison.shifts, comparison.posterior
    figure = ""
    if posterior.table.has_gaps and posterior.table.n_features > 1 and not posterior.table.has_errors:
        figure = _picture(plots.plot_imputed(posterior), "Missing cells as the others of their row tell them.")
    if moved is None:
        return figure
    return figure + paragraphs(moved.about) + scrolling(html_table(*moved.cells(MOST_ROWS)))


def _model(comparison: Comparison) -> str:
    problem = comparison.posterior.problem
    K, D = problem.n_components, problem.table.n_features
    name = problem.structure.name
    structure = _STRUCTURES[name] if D > 1 else _STRUCTURES_OF_ONE_FEATURE[name[0]]
    tails = problem.degrees_of_freedom is not None
    kind = "multivariate t distributions" if tails else "Gaussians"
    words = (
        f"Each row comes from one of K = {K} {kind} in D = {D} dimensions; from which is not known and is summed "
        f"out. The weights are positive and sum to one; {structure}."
    )
    if tails:
        words += (
            " Σ is a scatter: with n degrees of freedom the covariance is n / (n - 2) times as large; there is none "
            "for n of 2 or less. The fewer degrees of freedom, the heavier the tails; above 30 or so a component is "
            "nearly Gaussian."
        )
    noise = []
    if problem.noise is not None:
        volume = np.exp(problem.noise.log_volume)
        words += (
            f" Rows that come from none of them are noise, of constant density over a box of volume V = {volume:.4g}, "
            "with a weight of its own, which counts in that sum. Its prior below is of that weight, and the one of the "
            "weights is of how the components share the rest."
        )
        noise = [operator("+"), symbol("π", "0"), operator("/"), "<mi>V</mi>"]
    mixture = formula(
        "<mi>p</mi>", operator("("), symbol("x", "n"), operator(")"), operator("="), over("∑", "k"),
        symbol("π", "k"), symbol("t", "k") if tails else "<mi>N</mi>", operator("("), symbol("x", "n"), operator("|"),
        symbol("μ", "k"),
        operator(","), symbol("Σ", "k"), operator(")"), *noise,
    )  # fmt: skip
    posterior = formula(
        "<mi>p</mi>", operator("("), "<mi>θ</mi>", operator("|"), "<mi>x</mi>", operator(")"), operator("∝"),
        "<mi>p</mi>", operator("("), "<mi>θ</mi>", operator(")"),
        over("∏", "n"),
        "<mi>p</mi>", operator("("), symbol("x", "n"), operator("|"), "<mi>θ</mi>", operator(")"),
    )  # fmt: skip
    priors = problem.prior.in_words(problem.table.columns)
    table = scrolling(wide_table(["prior of", "in the units of the data"], list(priors.items())))
    fitted = (
        "Maximum likelihood: the best maximum that EM found from "
        f"{len(comparison.mle.start_statuses)} starts. Posterior: draws from the same likelihood and the priors below."
    )
    return paragraphs(words) + mixture + paragraphs(fitted) + posterior + table


def _reproduce(comparison: Comparison, command: str) -> str:
    mle, posterior = comparison.mle, comparison.posterior
    attributes, (chains, draws) = posterior.tree["posterior"].attrs, posterior.draws.log_weights.shape[:2]
    K, structure = posterior.problem.n_components, posterior.problem.covariance_type
    noise = "" if posterior.problem.noise is None else f", noise={_noise(posterior.problem.noise)}"
    noise += _tails(posterior.problem.degrees_of_freedom)
    lines = [
        "import bayes_gmm as bg",
        f"x = {_origin(posterior.table)}",
        f"mle = bg.fit_em(x, {K}, covariance_type={mle.structure.name!r}, n_starts={len(mle.start_statuses)}{noise})",
        f"posterior = bg.fit_nuts(x, {K}, covariance_type={structure!r}, num_warmup={attributes['num_warmup']}, "
        f"num_samples={attributes.get('num_samples', draws)},",
        f"                        num_chains={chains}, target_accept_prob={attributes['target_accept_prob']}, "
        f"seed={attributes['seed']}, start=mle{noise})",
        "bg.report(mle, posterior, 'report.html')",
    ]
    versions = ", ".join(f"{name} {version(name)}" for name in ("bayes_gmm", "jax", "numpyro", "arviz", "numpy"))
    asked = paragraphs("The command:") + code(command) if command else ""
    return asked + paragraphs("In Python:") + code("\n".join(lines)) + paragraphs(f"Versions: {versions}.")


def _tails(degrees: Any) -> str:
    """The arguments that give these degrees of freedom."""
    if degrees is None:
        return ""
    wanted = degrees if isinstance(degrees, str) else degrees.tolist()
    return f", components='t', degrees_of_freedom={wanted!r}"


def _noise(noise: Noise) -> str:
    """The argument that gives this box, of the data or of another density."""
    return repr(float(np.exp(-noise.log_volume))) if noise.along_columns else repr("principal box")


def _origin(table: Table) -> str:
    """Python code that creates the table, as far as its name and source tell."""
    if table.has_errors:
        return f"bg.as_table({_origin(replace(table, errors=None))}, errors=...)  # with the known errors in this place"
    chosen = f"[{', '.join(map(repr, table.columns))}]"
    if table.name in catalogue.names():
        whole = catalogue.load(table.name).columns == table.columns
        return f"bg.datasets.load({table.name!r})" + ("" if whole else f".select({chosen})")
    path, _, found = table.source.rpartition(" (")
    if found.endswith(")") and Path(path).suffix:
        gaps = ", missing='drop'" if any("missing cells" in sentence for sentence in table.left_out) else ""
        return f"bg.read_table({path!r}, columns={chosen}{gaps})"
    return f"...  # the table {table.name!r}, {table.n_points} rows, columns {chosen}"


def _picture(axes: Any, caption: str) -> str:
    """Image of a figure, given by its axes, with a caption; the figure is closed."""
    png, width = png_of(axes)
    return picture(png, caption, width)


def _with_two_decimals(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"
