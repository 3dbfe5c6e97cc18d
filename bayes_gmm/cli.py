"""The command `bayes-gmm`: its options and exit statuses; `commands` has the functions that it calls."""

import argparse
import gc
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bayes_gmm import use_compile_cache
from bayes_gmm.commands import fit, groups, list_datasets, report, select
from bayes_gmm.datasets import catalogue
from bayes_gmm.errors import BayesGMMError, FitWarning
from bayes_gmm.io.table_checks import MISSING_CHOICES

_EPILOG = """\
examples:
  bayes-gmm fit faithful --components 2
  bayes-gmm fit table.csv -k 3 --columns height,weight --report
  bayes-gmm select iris --components 1-6 --covariance full,tied,VEV
  bayes-gmm groups table.csv --by site --components 1-3
  bayes-gmm report galaxies -k 4 --out galaxies.html
  bayes-gmm datasets faithful | bayes-gmm fit - -k 2 --json > fit.json

results go to standard output, progress and warnings to standard error.
exit status: 0 when it succeeded, 2 when the table or the request cannot be used, 130 when interrupted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its status is 0 on success, 2 if the table or an option cannot be used, 130 if interrupted."""
    if arguments is not None:
        return _run(arguments)
    # A short process: to look through the objects of all libraries for garbage, and again at its end, takes a second.
    gc.disable()
    try:
        return _run(sys.argv[1:])
    finally:
        gc.freeze()


def _run(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    options.command = ["bayes-gmm", *arguments]
    if not getattr(options, "compile_cache", True):
        use_compile_cache(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", FitWarning)
            warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
            options.run(options)
    except BayesGMMError as error:
        print(f"bayes-gmm: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # standard output was closed, for example by `head`; the files are written by then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("bayes-gmm: interrupted before there were draws to keep", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bayes-gmm",
        description="Gaussian mixtures by maximum likelihood and by their posterior, side by side.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('bayes_gmm')}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_fit(verbs)
    _add_select(verbs)
    _add_groups(verbs)
    _add_report(verbs)
    _add_datasets(verbs)
    return parser


def _add_verb(
    verbs: Any, name: str, *, short: str, long: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    """Add a subcommand that calls `run`; `verbs` is what `add_subparsers` returned."""
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=short, description=long)
    verb.set_defaults(run=run)
    return verb


def _add_fit(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "fit",
        short="fit a table and compare the two answers",
        long="Fit K Gaussians to a table by EM and by NUTS, print both side by side, and write posterior.nc (read by "
        "ArviZ), mle.json, components.csv, points.csv and figure.png.",
        run=fit,
    )
    _add_table(verb)
    _add_model(verb)
    verb.add_argument("--out", metavar="DIR", type=Path, help="folder for the results (default: results/TABLE_K)")
    verb.add_argument("--report", action="store_true", help="write report.html, one file for a colleague, too")
    verb.add_argument("--json", action="store_true", help="print the comparison as JSON rather than as a table")


def _add_select(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "select",
        short="compare numbers of components and covariance structures",
        long="Fit every number of components with every structure by EM and print a criterion for each; lower is "
        "better.",
        run=select,
    )
    _add_table(verb)
    _add_choice(verb, counts="1-9", starts=16, several=True)
    _add_likelihood(verb)
    verb.add_argument("--out", metavar="FILE", type=Path, help="CSV file for all criteria (default: none)")
    verb.add_argument("--json", action="store_true", help="print all criteria as JSON rather than one as a table")


def _add_groups(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "groups",
        short="fit a mixture to each group of rows",
        long="Fit Gaussians to each group of rows by EM, as many as a criterion chooses for each, and print them; a "
        "group that cannot be fitted is named with the reason.",
        run=groups,
    )
    _add_table(verb)
    verb.add_argument("--by", required=True, metavar="COLUMN", help="column with the group of each row")
    _add_choice(verb, counts="1", starts=32, several=False)
    verb.add_argument("--out", metavar="DIR", type=Path, help="folder for groups.csv and groups.png (default: none)")
    verb.add_argument("--json", action="store_true", help="print all components as JSON rather than as a table")


def _add_choice(verb: argparse.ArgumentParser, *, counts: str, starts: int, several: bool) -> None:
    """Options of a choice among fits by EM."""
    verb.add_argument(
        "--components",
        "-k",
        default=counts,
        metavar="K,...",
        help="numbers of Gaussians, such as 1-6 or 2,4,8 (default: %(default)s)",
    )
    verb.add_argument(
        "--covariance",
        default="full",
        metavar="NAME,..." if several else "NAME",
        help="full, tied, diag, spherical or mclust's codes such as VEV"
        + "; several with commas" * several
        + " (default: %(default)s)",
    )
    verb.add_argument(
        "--criterion",
        default="bic",
        choices=("bic", "icl", "aic"),
        help="what fits are compared by (default: %(default)s)",
    )
    verb.add_argument(
        "--starts", type=int, default=starts, metavar="N", help="starts of EM for each fit (default: %(default)s)"
    )
    verb.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of everything random (default: %(default)s)"
    )


def _add_likelihood(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--heavy-tails",
        nargs="?",
        const="common",
        metavar="NU",
        help='components that are t distributions, with degrees of freedom that are "common" (also without NU), one '
        '"per component", or held at a number (default: Gaussians)',
    )
    verb.add_argument(
        "--noise",
        nargs="?",
        const="box",
        metavar="KIND",
        help='uniform noise that takes outliers: over the box of the data ("box", also without KIND), over its '
        '"principal box", or of a density (default: none)',
    )


def _add_report(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "report",
        short="fit a table and write one HTML file about it",
        long="Fit K Gaussians by EM and by NUTS and write one self-contained HTML file: verdict, tables, figures, "
        "model and priors in words and formulas, and how to reproduce it.",
        run=report,
    )
    _add_table(verb)
    _add_model(verb)
    verb.add_argument("--out", metavar="FILE", type=Path, help="the file (default: TABLE_K.html)")


def _add_datasets(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "datasets",
        short="list the data sets that come with the package, or print one",
        long="List the data sets that come with the package with their sources, or print one as CSV.",
        run=list_datasets,
    )
    verb.add_argument("name", nargs="?", metavar="NAME", help=f"one of {', '.join(catalogue.names())}")
    verb.add_argument("--json", action="store_true", help="print the list as JSON")


def _add_table(verb: argparse.ArgumentParser) -> None:
    sets = ", ".join(catalogue.names())
    verb.add_argument(
        "table",
        metavar="TABLE",
        help=f"a file (CSV or other text, Excel, Parquet, Feather, JSON lines), - for standard input, or one of {sets}",
    )
    verb.add_argument(
        "--columns",
        metavar="A,B",
        help="columns to use, by name (default: all but text, dates, true and false, row numbers, identifiers, codes, "
        "constants; what is left out is said)",
    )
    verb.add_argument("--without", metavar="A,B", help="columns to leave out, by name (default: none)")
    verb.add_argument(
        "--errors",
        metavar="A_ERR,B_ERR",
        help="columns with the standard deviations of the errors, by name, in the order of the columns that are used, "
        "of which they are none (default: none)",
    )
    verb.add_argument(
        "--labels", metavar="COLUMN", help="known classes, with which the answer is compared (default: none)"
    )
    verb.add_argument(
        "--missing",
        default="integrate",
        choices=MISSING_CHOICES,
        help="missing cells: integrate them out as missing at random, drop their rows, or refuse them "
        "(default: %(default)s)",
    )
    verb.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether a text file has names above its rows (default: found out)",
    )
    verb.add_argument(
        "--no-compile-cache",
        action="store_false",
        dest="compile_cache",
        help="do not keep compiled programs for the next time in the user's cache folder",
    )


def _add_model(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--components", "-k", type=int, required=True, metavar="K", help="number of Gaussians")
    verb.add_argument(
        "--covariance",
        default="full",
        metavar="NAME",
        help="full, tied, diag, spherical, EEI or EII covariances (default: %(default)s)",
    )
    _add_likelihood(verb)
    verb.add_argument("--starts", type=int, metavar="N", help="random starts of EM (default: more where cheap)")
    verb.add_argument(
        "--bootstrap", type=int, default=0, metavar="N", help="replicates for standard errors by resampling"
    )
    verb.add_argument("--num-chains", type=int, default=4, metavar="N", help="chains of NUTS (default: %(default)s)")
    verb.add_argument(
        "--num-warmup", type=int, default=200, metavar="N", help="transitions to tune each chain (default: %(default)s)"
    )
    verb.add_argument(
        "--num-samples", type=int, metavar="N", help="draws of each chain by NUTS (default: until they suffice)"
    )
    verb.add_argument(
        "--max-seconds",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds after which sampling ends unfinished (default: %(default)s)",
    )
    verb.add_argument(
        "--target-accept-prob",
        type=float,
        default=0.8,
        metavar="P",
        help="acceptance to tune for, nearer to 1 where draws diverge (default: %(default)s)",
    )
    verb.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of everything random (default: %(default)s)"
    )
