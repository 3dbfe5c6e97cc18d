"""The result of judging draws: a status with its reasons, printed as a short table in a terminal and a notebook."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from html import escape

from bayes_gmm.core.export import html_table

LARGEST_RHAT = 1.01
SMALLEST_ESS = 400.0
"""Limits of R-hat and of the effective sample size over all chains that Vehtari et al. (2021) recommend."""

SMALLEST_BFMI = 0.3
"""Limit of the fraction of missing information that Stan and ArviZ use, after Betancourt (2016)."""


class VerdictStatus(IntEnum):
    """How far a set of draws can be trusted."""

    GOOD = 0
    DOUBTFUL = 1
    BAD = 2


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Judgement of a set of draws, with the numbers that it rests on.

    Attributes
    ----------
    status
        GOOD, DOUBTFUL or BAD: the worse of the next two.
    sampling
        Whether these are draws from the posterior, a fact about the sampler: judged on quantities that do not depend on
        labels. Densities, assignments of points and sorted quantities may be quoted where it is GOOD.
    components
        Whether each component can be named, a fact about the data: where it is not GOOD, the numbers of single
        components mean little, however long the sampler runs.
    reasons
        One sentence for each problem, with advice; empty when there is none.
    notes
        Facts that the reader should know and that are no problems.
    max_rhat, min_ess, max_mcse
        Largest R-hat, smallest bulk or tail effective sample size, and largest Monte Carlo standard error of a mean in
        posterior sds: under "invariants" of the label-invariant quantities, under "posterior" of the relabelled
        parameters.
    n_divergent, n_deepest
        Numbers of the `n_draws` transitions that diverged, and that were cut at the largest tree depth.
    min_bfmi
        Smallest fraction of missing information over the chains (BFMI).

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
    sampling: VerdictStatus | None = None
    components: VerdictStatus | None = None

    def __post_init__(self) -> None:
        # Verdicts saved by versions that made one judgement of both.
        for name in ("sampling", "components"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.status)

    @property
    def head(self) -> str:
        """The status, or both judgements where they differ."""
        names = self.judgements()
        if names["sampling"] == names["components"]:
            return names["status"]
        return f"sampling {names['sampling']}, components {names['components']}"

    def judgements(self) -> dict[str, str]:
        """Names of the three statuses, for files."""
        names = ("status", "sampling", "components")
        return {name: VerdictStatus(getattr(self, name)).name for name in names}

    @property
    def summary(self) -> str:
        """Status, largest R-hat, smallest effective sample size and number of divergences in one line."""
        return (
            f"{self.head}: R-hat at most {max(self.max_rhat.values()):.4f}, "
            f"ESS at least {min(self.min_ess.values()):.0f}, {self.n_divergent} divergences in {self.n_draws} draws"
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """All sentences that are printed: the reasons, then the notes."""
        return self.reasons + self.notes

    def __str__(self) -> str:
        lines = [f"{self.head} ({self.n_draws} draws)"]
        lines += [f"  {name:28}{found:>11}{other:>12}   {wanted}" for name, found, other, wanted in self._rows()]
        return "\n".join([*lines, *(f"  - {sentence}" for sentence in self.sentences)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        listed = "".join(f"<li>{escape(sentence)}" for sentence in self.sentences)
        return f"<p><b>{self.head}</b> ({self.n_draws} draws){self.table()}<ul>{listed}</ul>"

    def table(self) -> str:
        """The numbers beside their limits, as an HTML table."""
        head, *rows = self._rows()
        return html_table(head, rows)

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Rows of the table: name, value of the invariants, value of the relabelled parameters, and the limit."""
        yield "", "invariants", "parameters", "wanted"
        yield "largest R-hat", *_both(self.max_rhat, ".4f"), f"at most {LARGEST_RHAT}"
        yield "smallest ESS", *_both(self.min_ess, ".0f"), f"at least {SMALLEST_ESS:.0f}"
        yield "largest MCSE / posterior sd", *_both(self.max_mcse, ".3f"), ""
        yield "divergences", str(self.n_divergent), "", ""
        yield "cut at largest tree depth", str(self.n_deepest), "", ""
        yield "smallest BFMI", f"{self.min_bfmi:.2f}", "", f"at least {SMALLEST_BFMI}"


def _both(values: dict[str, float], form: str) -> tuple[str, str]:
    return format(values["invariants"], form), format(values["posterior"], form)
