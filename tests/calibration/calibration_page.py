"""Write the record's page, two tables in the project's README, and the figures, from the files of `results/` alone.

python tests/calibration/calibration_page.py
"""

import json
import re
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from textwrap import fill
from typing import Any

import calibration_figure
from recording import RESULTS

ROOT = Path(__file__).parents[2]
README, PAGE = ROOT / "README.md", Path(__file__).parent / "README.md"
FIGURE, OF_OVERLAP = ROOT / ".readme" / "calibration.png", ROOT / ".readme" / "overlap.png"
CALIBRATION, OVERLAP = "calibration", "overlap"
"""Names of the sections between markers."""

ORDER = (
    "sbc_nuts",
    "sbc_rows",
    "sbc_laplace",
    "sbc",
    "posterior",
    "overlapping",
    "coverage",
    "missing_cells",
    "errors",
    "heavy_tails",
    "noise_coverage",
    "restarts",
    "verdict_sound",
    "verdict_two_modes",
    "verdict_the_same",
    "verdict",
)
"""Names of results begin with one of these."""

REASONS = " (reasons)"
"""End of `what` where brackets behind what was found hold the reasons of verdicts."""

LONGEST = 75
"""Characters of what was found in several settings that still fit into one line."""

INTRODUCTION = """\
Is what the package says true as often as it says? Simulated data with known answers, and controls that must be noticed,
measured by the first command; the second writes this section and its figure from the JSON files in
`tests/calibration/results`, and two tables into the project's README."""

LEGEND = """\
Proportions are given in percent with their standard error, or with an interval of 95 %. "holds": not told apart from
what is expected, at an error of 1 %."""

PICTURE = """\
![Ranks of the truth within their band and, of broken samplers, outside; coverage of intervals; verdicts]\
(../../.readme/calibration.png)"""
SHORT_PICTURE = "![Ranks of the truth, coverage of intervals, verdicts](.readme/calibration.png)"

CHECKS: dict[str, Callable[..., dict[str, Any]]] = {
    "NUTS: rank of the truth": min,
    "90% intervals of the posterior": min,
    "components that overlap": min,
    "EM by default": min,
    "verdict on a planted failure": max,
}
"""Checks of which the README shows one setting each, by the beginning of `what`, and which share is the worst."""

COMMANDS = """\
```sh
python -m pytest -m slow -n2 tests/calibration --record
python tests/calibration/calibration_page.py
```"""


def load(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """All results, in the order of the table."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return sorted(
        results, key=lambda result: next(i for i, name in enumerate(ORDER) if result["name"].startswith(name))
    )


def section(results: list[dict[str, Any]]) -> str:
    """The whole record, for its page, without the markers."""
    rows = [row for result in results for row in result["rows"]]
    hidden = [row for row in rows if not row["shown"]]
    others = f"Of {len(hidden)} settings that the table leaves out {sum(row['holds'] for row in hidden)} hold."
    parts = [_wrapped(f"{INTRODUCTION} {_when(results)}"), COMMANDS, PICTURE, table(rows)]
    return "\n\n".join([*parts, _wrapped(f"{LEGEND} {others}" if hidden else LEGEND)]) + "\n"


def highlights(results: list[dict[str, Any]]) -> str:
    """A few rows and the figure, for the project's README: of each check the setting farthest from what is expected."""
    rows = [row for result in results for row in result["rows"]]
    lines = ["| check | holds in | farthest off | expected | found |", "|---|---|---|---|---|"]
    for what, worst in CHECKS.items():
        settings = [row for row in rows if row["what"].startswith(what)]
        row = _without_reasons(worst(settings, key=share))
        holds = f"{sum(row['holds'] for row in settings)} of {len(settings)}"
        setting = row["setting"].partition(";")[0]
        found = row["found"].partition(";")[0]
        found = found if row["holds"] else f"**{found}**"
        lines.append(f"| {row['what']} | {holds} | {setting} | {row['expected']} | {found} |")
    controls = [row["holds"] for row in rows if row["what"].startswith("control")]
    noticed = f"In bold: falls short. Of {len(controls)} controls, broken on purpose, {sum(controls)} are noticed."
    return "\n\n".join([SHORT_PICTURE, "\n".join(lines), noticed]) + "\n"


ROWS_OF_OVERLAP = (
    *((2, 1, 2, 200), (2, 1, 2, 1000), (3, 1, 2, 200)),
    *((2, 2, 2, 200), (3, 2, 2, 200)),
)
"""Components, features, distance in sds and points of the cells in the README's table."""


def overlap(results: list[dict[str, Any]]) -> str:
    """The project's README on components that overlap: intervals of both answers beside each other, and a figure."""
    of_cell = {tuple(one["settings"]["cell"].values()): one["numbers"] for one in results if is_overlapping(one)}
    lines = [
        "| components | 90 % intervals of the fit hold weights / means / sds | of the posterior | its density | "
        "sampling GOOD | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for cell in ROWS_OF_OVERLAP:
        numbers, (K, D, apart, N) = of_cell[cell], cell
        fit, posterior = (
            [round(100 * mean) for mean, _ in numbers["coverage"][of].values()] for of in ("MLE", "posterior")
        )
        seconds = sorted(numbers["processor seconds"])[numbers["n"] // 2]
        lines.append(
            f"| K={K}, D={D}, {apart} sd apart, N={N} | {_slashed(fit)} % | {_slashed(posterior[:3])} % | "
            f"{posterior[3]} % | {numbers['sampling'].get('GOOD', 0)} of {numbers['n']} | {seconds:.1f} |"
        )
    figure = "![Coverage of intervals against the sample size](.readme/overlap.png)"
    return "\n\n".join([figure, "\n".join(lines)]) + "\n"


def is_overlapping(result: dict[str, Any]) -> bool:
    """Whether a result is one of `overlapping`."""
    return result["name"].startswith("overlapping")


def _slashed(values: list[int]) -> str:
    return " / ".join(map(str, values))


def _without_reasons(row: dict[str, Any]) -> dict[str, Any]:
    """Statuses without the reasons in brackets behind them."""
    if not row["what"].endswith(REASONS):
        return row
    return row | {"what": row["what"].removesuffix(REASONS), "found": row["found"].partition(" (")[0]}


def share(row: dict[str, Any]) -> float:
    """First number that was found, as a share where it is one of a count ("149 of 200")."""
    first = re.search(r"\d+\.?\d*", row["found"])
    count = re.search(r" of (\d+)", row["found"])
    if first is None:
        raise ValueError(f"found no number in {row['found']!r}")
    return float(first.group()) / (int(count.group(1)) if count else 1)


def _wrapped(text: str) -> str:
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)


def table(rows: list[dict[str, Any]]) -> str:
    """Lines of what is shown; settings of one check are joined where they are short."""
    lines = ["| what | setting | expected | found | verdict |", "|---|---|---|---|---|"]
    for _, of_what in groupby([row for row in rows if row["shown"]], key=itemgetter("what")):
        lines += map(_line, _joined(list(of_what)))
    return "\n".join(lines)


def _joined(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row where all that was found is short, else the rows, `what` given once."""
    found = "; ".join(row["found"] for row in rows)
    if len({row["expected"] for row in rows}) == 1 and len(found) <= LONGEST:
        setting = "; ".join(row["setting"] for row in rows)
        return [rows[0] | {"setting": setting, "found": found, "holds": all(row["holds"] for row in rows)}]
    return [rows[0], *(row | {"what": ""} for row in rows[1:])]


def _line(row: dict[str, Any]) -> str:
    verdict = "holds" if row["holds"] else "**falls short**"
    return f"| {row['what']} | {row['setting']} | {row['expected']} | {row['found']} | {verdict} |"


def _when(results: list[dict[str, Any]]) -> str:
    """Date, machine and versions, and whether it was a smaller run than usual."""
    dates, cpus = sorted({result["date"] for result in results}), sorted({result["cpu"] for result in results})
    versions = sorted({f"{name} {number}" for result in results for name, number in result["versions"].items()})
    minutes = sum(result["minutes"] for result in results)
    when, where = " to ".join([dates[0], *dates[1:][-1:]]), ", ".join(cpus)
    said = f"Recorded {when} on {where}, {minutes:.0f} minutes of one worker, with {', '.join(versions)}."
    reduced = "; ".join(_portions(results))
    return said + (f" **Reduced, of the usual number of data sets: {reduced}.**" if reduced else "")


def _portions(results: list[dict[str, Any]]) -> Iterator[str]:
    """Kinds of results of which some come from fewer data sets than usual."""
    kinds: dict[str, set[float]] = {}
    for result in results:
        kinds.setdefault(result["name"].partition("_")[0], set()).add(result["portion"])
    for kind, portions in sorted(kinds.items()):
        if min(portions) < 1:
            yield f"{kind} " + " to ".join(f"{portion:.0%}" for portion in sorted({min(portions), max(portions)}))


def with_section(page: str, name: str, text: str) -> str:
    """Page in which what is between the markers of a section is replaced."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if (page.count(begin), page.count(end)) != (1, 1):
        raise SystemExit(f"the page must hold {begin} and {end} once")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}{end}{after}"


def sections(results: list[dict[str, Any]]) -> list[tuple[Path, str, str]]:
    """All that is written: page, name of the section, text."""
    return [
        (PAGE, CALIBRATION, section(results)),
        (README, CALIBRATION, highlights(results)),
        (README, OVERLAP, overlap(results)),
    ]


def main() -> None:
    """Write both pages and the figures."""
    results = load()
    for path, name, text in sections(results):
        path.write_text(with_section(path.read_text(encoding="utf-8"), name, text), encoding="utf-8")
    calibration_figure.save(calibration_figure.draw(results), FIGURE)
    calibration_figure.save(calibration_figure.draw_overlap(results), OF_OVERLAP)


if __name__ == "__main__":
    main()
