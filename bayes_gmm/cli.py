"""The command `bayes-gmm`: one table in; the MLE, the posterior and their comparison out."""

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from . import datasets
from .errors import BayesGMMError, FitWarning, OutputError
from .table import Table, read_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it succeeded, 2 when the input or the request could not be used."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", FitWarning)
            warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
            options.run(options)
    except BayesGMMError as error:
        print(f"bayes-gmm: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of standard output had enough; the files are written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("bayes-gmm: interrupted before there were draws to keep", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bayes-gmm",
        description="Gaussian mixtures by maximum likelihood and by their posterior, side by side.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('bayes_gmm')}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    fit = verbs.add_parser(
        "fit",
        help="fit a table and compare the two answers",
        description="Fit K Gaussians to a table by EM and by NUTS, print both side by side, and write "
        "posterior.nc, mle.json, components.csv and figure.png.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    fit.add_argument("table", metavar="TABLE", help=f"a CSV file, or one of {', '.join(datasets.names())}")
    fit.add_argument("--components", "-k", type=int, required=True, metavar="K", help="number of Gaussians")
    fit.add_argument("--columns", metavar="A,B", help="columns to use, by name; all when left out")
    fit.add_argument("--out", metavar="DIR", type=Path, help="folder for the results (default: results/TABLE_K)")
    fit.add_argument("--starts", type=int, metavar="N", help="random starts of EM (default: many where they are cheap)")
    fit.add_argument("--num-chains", type=int, default=4, metavar="N", help="chains of NUTS")
    fit.add_argument("--num-warmup", type=int, default=200, metavar="N", help="transitions to tune each chain")
    fit.add_argument("--num-samples", type=int, default=1000, metavar="N", help="draws to keep of each chain")
    fit.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything random")
    fit.set_defaults(run=_fit)
    return parser


def _fit(options: argparse.Namespace) -> None:
    table = _load(options.table, options.columns)
    out = _writable_folder(options.out or Path("results") / f"{table.name}_{options.components}")
    # Imported here: a mistake in the request is answered at once, not after seconds of imports.
    from .comparison import compare
    from .em import fit_em
    from .plots import plot_ellipses
    from .sampling import fit_nuts

    mle = fit_em(table, options.components, n_starts=options.starts, seed=options.seed).check()
    posterior = fit_nuts(
        table,
        options.components,
        num_warmup=options.num_warmup,
        num_samples=options.num_samples,
        num_chains=options.num_chains,
        seed=options.seed,
        start=mle,
        progress=sys.stderr.isatty(),
    )
    comparison = compare(mle, posterior)
    (out / "mle.json").write_text(json.dumps(mle.record(), indent=1) + "\n", encoding="utf-8")
    comparison.to_csv(out / "components.csv")
    posterior.save(out / "posterior.nc")
    panels = np.asarray(plot_ellipses(posterior, mle=mle), dtype=object)
    panels.flat[0].figure.savefig(out / "figure.png", dpi=200)
    print(f"{comparison}\n\nWritten to {out}: posterior.nc, mle.json, components.csv, figure.png", flush=True)


def _load(name: str, columns: str | None) -> Table:
    chosen = [column.strip() for column in columns.split(",")] if columns else None
    if name in datasets.names():
        table = datasets.load(name)
        return table.select(chosen) if chosen else table
    return read_table(name, columns=chosen)


def _writable_folder(path: Path) -> Path:
    """The folder, made if need be, after a file could be written into it: before the sampling, not after."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise OutputError(
            f"Nothing can be written to {path} ({error.strerror}).",
            "a folder that can be written to",
            "Choose another one with --out.",
        ) from error
