"""Subcommands of the command `bayes-gmm`, one function each, called with the parsed options."""

import argparse
import csv
import re
import shlex
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayes_gmm.core.export import output_errors, to_json, write_json
from bayes_gmm.core.validation import positions
from bayes_gmm.datasets import catalogue
from bayes_gmm.errors import ArgumentError, DataWarning
from bayes_gmm.io.table import Table, read_table

# The subcommands import the numerical modules, which takes seconds, only after the table and the options were checked.
if TYPE_CHECKING:
    from bayes_gmm.assessment.compare import Comparison


def fit(options: argparse.Namespace) -> None:
    """Fit by EM and by NUTS, print the comparison, and write it and the draws into a folder."""
    table = _load(options)
    out = _writable_folder(options.out or Path("results") / f"{table.name}_{options.components}")
    comparison = _compare(table, options)
    from bayes_gmm.figure_files import save_figure
    from bayes_gmm.plots import plot_ellipses

    mle, posterior = comparison.mle, comparison.posterior
    write_json(mle.record(), out / "mle.json")
    comparison.to_csv(out / "components.csv")
    comparison.to_csv(out / "points.csv", "points")
    posterior.save(out / "posterior.nc")
    save_figure(plot_ellipses(posterior, mle=mle), out / "figure.png")
    written = ["posterior.nc", "mle.json", "components.csv", "points.csv", "figure.png"]
    if options.report:
        _write_report(comparison, out / "report.html", options)
        written.append("report.html")
    print(to_json(comparison.record()) if options.json else f"{comparison}\n", flush=True)
    print(f"Written to {out}: {', '.join(written)}", file=sys.stderr if options.json else sys.stdout, flush=True)


def select(options: argparse.Namespace) -> None:
    """Fit every number of components with every covariance structure by EM, and print a criterion of each fit."""
    table = _load(options)
    counts = _numbers(options.components)
    if options.out:
        _writable_folder(options.out.parent)
    from bayes_gmm.assessment.select_em import select_em

    selection = select_em(
        table,
        counts,
        covariance_type=_names(options.covariance),
        criterion=options.criterion,
        **_likelihood(options),
        n_starts=options.starts,
        seed=options.seed,
        progress=sys.stderr.isatty(),
    )
    if options.out:
        selection.to_csv(options.out)
    for sentence in table.remarks:
        print(sentence, file=sys.stderr if options.json else sys.stdout)
    print(to_json(selection.records()) if options.json else selection, flush=True)


def groups(options: argparse.Namespace) -> None:
    """Fit a mixture to each group of rows by EM, print them, and write them and a figure into a folder."""
    if options.labels not in (None, options.by):
        raise ArgumentError(f"--labels is {options.labels!r}.", "no --labels beside --by", "The groups are --by.")
    options.labels = options.by
    table, counts = _load(options), _numbers(options.components)
    out = None if options.out is None else _writable_folder(options.out)
    from bayes_gmm.assessment.fit_em_groups import fit_em_groups

    found = fit_em_groups(
        table,
        options.by,
        counts,
        covariance_type=options.covariance,
        criterion=options.criterion,
        n_starts=options.starts,
        seed=options.seed,
        progress=sys.stderr.isatty(),
    )
    said = sys.stderr if options.json else sys.stdout
    for sentence in table.remarks:
        print(sentence, file=said)
    print(to_json(found.records()) if options.json else found, flush=True)
    if out is not None:
        from bayes_gmm.figure_files import save_figure
        from bayes_gmm.plots import plot_groups

        found.to_csv(out / "groups.csv")
        save_figure(plot_groups(found), out / "groups.png")
        print(f"Written to {out}: groups.csv, groups.png", file=said, flush=True)


def report(options: argparse.Namespace) -> None:
    """Fit by EM and by NUTS and write the comparison as one HTML file."""
    table = _load(options)
    path = options.out or Path(f"{table.name}_{options.components}.html")
    _writable_folder(path.parent)
    comparison = _compare(table, options)
    _write_report(comparison, path, options)
    said = "\n".join([*table.remarks, comparison.posterior.verdict.summary])
    print(f"{said}\nWritten to {path}", flush=True)


def list_datasets(options: argparse.Namespace) -> None:
    """Print the list of bundled data sets, or one of them as CSV."""
    if options.name is None:
        tables = [catalogue.load(name) for name in catalogue.names()]
        print(to_json([_about(table) for table in tables]) if options.json else "\n\n".join(map(_words, tables)))
        return
    table = catalogue.load(options.name)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*table.columns, *([table.labels_from or "label"] if table.labels else [])])
    for row, values in enumerate(table.values.tolist()):
        writer.writerow([*values, *([table.labels[row]] if table.labels else [])])
    sys.stdout.flush()


def _compare(table: Table, options: argparse.Namespace) -> "Comparison":
    from bayes_gmm.assessment.bootstrap import bootstrap
    from bayes_gmm.assessment.compare import compare
    from bayes_gmm.mle.fit_em import fit_em
    from bayes_gmm.posterior.fit_nuts import fit_nuts

    shared = {"covariance_type": options.covariance, "seed": options.seed, **_likelihood(options)}
    mle = fit_em(table, options.components, n_starts=options.starts, **shared).check()
    resampled = bootstrap(mle, n_replicates=options.bootstrap, seed=options.seed) if options.bootstrap else None
    posterior = fit_nuts(
        table,
        options.components,
        num_warmup=options.num_warmup,
        num_samples=options.num_samples,
        num_chains=options.num_chains,
        target_accept_prob=options.target_accept_prob,
        max_seconds=options.max_seconds,
        start=mle,
        progress=sys.stderr.isatty(),
        **shared,
    )
    return compare(mle, posterior, bootstrap=resampled)


def _write_report(comparison: "Comparison", path: Path, options: argparse.Namespace) -> None:
    from bayes_gmm.reporting import write_report

    write_report(comparison, path, command=shlex.join(options.command))


def _load(options: argparse.Namespace) -> Table:
    """The table; what was left out of it is said with its answer, so that it needs no warning."""
    chosen = _names(options.columns) if options.columns else None
    without = _names(options.without) if options.without else []
    errors = _names(options.errors) if options.errors else []
    if options.table in catalogue.names():
        if errors:
            raise ArgumentError(
                f"--errors is {options.errors!r}.", "no --errors, for bundled tables have none", "Give a file."
            )
        return _select(catalogue.load(options.table), chosen, without, options.labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return read_table(
            options.table,
            chosen,
            without=without,
            labels=options.labels,
            missing=options.missing,
            errors=errors,
            header=options.header,
        )


def _select(table: Table, chosen: list[str] | None, without: list[str], labels: str | None) -> Table:
    """Columns of a bundled table, whose labels are those that it has."""
    if labels not in (None, table.labels_from):
        expected = repr(table.labels_from) if table.labels_from else "no --labels, since it has none"
        raise ArgumentError(f"--labels is {labels!r}.", expected, "For labels of your own give a file.")
    left = set(positions(without, table.columns)) if without else set()
    kept = [name for i, name in enumerate(table.columns) if i not in left]
    return table.select(chosen or kept) if chosen or without else table


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _numbers(text: str) -> list[int]:
    """Integers in a text such as "1-6", "2,4,8" or "1-3,6"."""
    counts: list[int] = []
    for part in _names(text):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if ends is None or not (found := list(range(int(ends[1]), int(ends[2] or ends[1]) + 1))):
            raise ArgumentError(
                f"--components is {text!r}.", "numbers from small to large, such as 1-6 or 2,4,8", "Try 1-9."
            )
        counts += found
    return counts


def _likelihood(options: argparse.Namespace) -> dict[str, Any]:
    """Noise and heavy tails as `fit_em` takes them."""
    tails = options.heavy_tails
    if tails is None:
        return {"noise": _noise(options.noise)}
    try:
        degrees: str | float = float(tails)
    except ValueError:
        degrees = tails
    return {"noise": _noise(options.noise), "components": "t", "degrees_of_freedom": degrees}


def _noise(text: str | None) -> str | float | bool:
    """Noise as `fit_em` takes it: nothing, a kind of box, or a density."""
    if text is None:
        return False
    try:
        return float(text)
    except ValueError:
        return text


def _about(table: Table) -> dict[str, object]:
    return {
        "name": table.name,
        "n_points": table.n_points,
        "columns": table.columns,
        "units": table.units,
        "source": table.source,
        "caveats": table.caveats,
    }


def _words(table: Table) -> str:
    return f"{table!r}\n{table.source}\n{table.caveats}"


def _writable_folder(path: Path) -> Path:
    """The folder, created if it is missing; a temporary file shows before the sampling that it can be written to."""
    failure, remedy = f"Nothing can be written to {path}", "Choose another one with --out."
    with output_errors(failure, "a folder that can be written to", remedy):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
