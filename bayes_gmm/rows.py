"""The rows of a comparison: one parameter, estimated both ways, as numbers, as a table and in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

PROBABILITY = 0.94
"""Mass of the posterior intervals."""

_SHIFTED = 0.5
_WIDER = 1.25


@dataclass(frozen=True, kw_only=True)
class Row:
    """One parameter, estimated both ways; `shift` is in posterior sds, `width_ratio` is sd over standard error."""

    component: int
    parameter: str
    feature: str
    estimate: float
    standard_error: float
    mean: float
    sd: float
    lower: float
    upper: float
    r_hat: float
    ess: float

    @property
    def name(self) -> str:
        """Parameter with its component and feature, such as "mean[0, waiting]"."""
        return f"{self.parameter}[{', '.join(filter(None, (str(self.component), self.feature)))}]"

    @property
    def shift(self) -> float:
        """How far the posterior mean lies from the estimate, in posterior sds."""
        return (self.mean - self.estimate) / self.sd if self.sd > 0 else 0.0

    @property
    def width_ratio(self) -> float:
        """Posterior sd divided by the standard error."""
        return self.sd / self.standard_error if self.standard_error > 0 else np.nan


def sentences(rows: Sequence[Row]) -> Iterator[str]:
    """Say which parameters move, which are less certain than their standard errors, and which are skewed."""
    yield from _moving(rows)
    yield from _wider(rows)
    yield from _skewed(rows)


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of a table for the terminal, component by component."""
    label_width = max(22, *(len(f"  {row.parameter} {row.feature}") for row in rows))
    lines = [
        f"{'':{label_width}}   {'maximum likelihood':>21}   {'posterior':^43}",
        f"{'':{label_width}}   {'estimate':>10} {'std error':>10}   {'mean':>10} {'sd':>9} "
        f"{f'{PROBABILITY:.0%} interval':>22}   {'R-hat':>6} {'ESS':>6}",
    ]
    for row in rows:
        if row.parameter == "weight":
            lines.append(f"component {row.component}")
        lines.append(f"{f'  {row.parameter} {row.feature}':{label_width}}   {_numbers(row)}")
    return lines


def _numbers(row: Row) -> str:
    digits = int(np.clip(2 - np.floor(np.log10(row.sd)), 0, 8)) if row.sd > 0 else 4
    values = (row.estimate, row.standard_error, row.mean, row.sd, row.lower, row.upper)
    estimate, error, mean, sd, lower, upper = ("-" if np.isnan(value) else f"{value:.{digits}f}" for value in values)
    r_hat, ess = ("-", "-") if np.isnan(row.r_hat) else (f"{row.r_hat:.3f}", f"{row.ess:.0f}")
    return f"{estimate:>10} {error:>10}   {mean:>10} {sd:>9} {f'[{lower}, {upper}]':>22}   {r_hat:>6} {ess:>6}"


def _moving(rows: Sequence[Row]) -> Iterator[str]:
    moved = sorted((row for row in rows if abs(row.shift) > _SHIFTED), key=lambda row: -abs(row.shift))
    if moved:
        count = f"{len(moved)} of {len(rows)}"
        yield f"Parameters that move by more than {_SHIFTED} posterior sd: {count} ({_listed(moved)})."
    largest = max(rows, key=lambda row: abs(row.shift))
    yield f"Largest shift from estimate to posterior mean: {largest.shift:+.2f} posterior sd, of {largest.name}."


def _wider(rows: Sequence[Row]) -> Iterator[str]:
    wider = [row for row in rows if row.width_ratio > _WIDER]
    narrower = [row for row in rows if row.width_ratio < 1 / _WIDER]
    for which, word in ((wider, "wider"), (narrower, "narrower")):
        if which:
            yield f"The posterior is much {word} than the standard error says for {_listed(which)}."


def _skewed(rows: Sequence[Row]) -> Iterator[str]:
    """Intervals whose longer arm exceeds the shorter by a quarter or more."""
    arms = [(row, row.upper - row.mean, row.mean - row.lower) for row in rows if row.sd > 0]
    skewed = [row for row, right, left in arms if max(right, left) > _WIDER * min(right, left)]
    if skewed:
        yield f"An interval of estimate plus or minus is wrong for {_listed(skewed)}: the posterior is skewed."


def _listed(rows: list[Row]) -> str:
    names = [row.name for row in rows[:4]]
    return ", ".join(names) + (f" and {len(rows) - 4} more" if len(rows) > 4 else "")
