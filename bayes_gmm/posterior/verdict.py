"""Whether draws can be trusted: a status with its reasons, as a short table in the terminal and in a notebook."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from html import escape

from bayes_gmm.core.export import html_table

LARGEST_RHAT = 1.01
SMALLEST_ESS = 400.0
SMALLEST_BFMI = 0.3


class VerdictStatus(IntEnum):
    """How far a set of draws can be trusted."""

    GOOD = 0
    DOUBTFUL = 1
    BAD = 2


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Judgement of a set of draws.

    Attributes
    ----------
    status
        GOOD, DOUBTFUL or BAD: the worst of the reasons.
    reasons
        What was found wrong, each with advice; empty when nothing was.
    notes
        What the reader should know without it being wrong.
    max_rhat, min_ess, max_mcse
        Over the label-invariant quantities and over the relabelled parameters: largest R-hat, smallest bulk or tail
        effective sample size, largest Monte Carlo standard error of a mean in posterior sds.
    n_divergent, n_deepest
        Transitions that diverged, and that were cut at the largest tree depth, out of `n_draws`.
    min_bfmi
        Smallest fraction of missing information of the energy over the chains.

    References
    ----------
    Vehtari et al. (2021), doi 10.1214/20-BA1221 (R-hat, ESS); Betancourt (2016), arXiv 1604.00695 (BFMI).
    """

    status: VerdictStatus
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    max_rhat: dict[str, float]
    min_ess: dict[str, float]
    max_mcse: dict[str, float]
    n_divergent: int
    n_deepest: int
    min_bfmi: float
    n_draws: int

    @property
    def summary(self) -> str:
        """One line."""
        return (
            f"{self.status.name}: R-hat at most {max(self.max_rhat.values()):.4f}, "
            f"ESS at least {min(self.min_ess.values()):.0f}, {self.n_divergent} divergences in {self.n_draws} draws"
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """The reasons and the notes."""
        return self.reasons + self.notes

    def __str__(self) -> str:
        lines = [f"{self.status.name} ({self.n_draws} draws)"]
        lines += [f"  {name:28}{found:>11}{other:>12}   {wanted}" for name, found, other, wanted in self._rows()]
        return "\n".join([*lines, *(f"  - {sentence}" for sentence in self.sentences)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        listed = "".join(f"<li>{escape(sentence)}" for sentence in self.sentences)
        return f"<p><b>{self.status.name}</b> ({self.n_draws} draws){self.table()}<ul>{listed}</ul>"

    def table(self) -> str:
        """The numbers as a table in HTML."""
        head, *rows = self._rows()
        return html_table(head, rows)

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Name, value over the invariants, value over the relabelled parameters, and what was wanted."""
        yield "", "invariants", "parameters", "wanted"
        yield "largest R-hat", *_both(self.max_rhat, ".4f"), f"at most {LARGEST_RHAT}"
        yield "smallest ESS", *_both(self.min_ess, ".0f"), f"at least {SMALLEST_ESS:.0f}"
        yield "largest MCSE / posterior sd", *_both(self.max_mcse, ".3f"), ""
        yield "divergences", str(self.n_divergent), "", "0"
        yield "cut at largest tree depth", str(self.n_deepest), "", "0"
        yield "smallest BFMI", f"{self.min_bfmi:.2f}", "", f"at least {SMALLEST_BFMI}"


def _both(values: dict[str, float], form: str) -> tuple[str, str]:
    return format(values["invariants"], form), format(values["posterior"], form)
