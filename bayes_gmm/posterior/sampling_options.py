"""What a user asks of the sampler: how many transitions and chains, and from what seed."""

from importlib.metadata import version
from typing import Any, NamedTuple

from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.core.validation import open_probability, positive_integer, real_number, seed_integer
from bayes_gmm.posterior.relabelling import check_method
from bayes_gmm.posterior.verdict import SMALLEST_ESS
from bayes_gmm.sampling.kernel import Kernel
from bayes_gmm.sampling.nuts import Nuts
from bayes_gmm.sampling.relative_covariances import RelativeCovariances

NUTS = Nuts()
"""The kernel where no other is asked for."""


class SamplingOptions(NamedTuple):
    """Checked arguments of `fit_nuts` and `fit_hmc` that concern sampling and relabelling, and the kernel."""

    num_warmup: int
    num_samples: int | None
    num_chains: int
    target_accept_prob: float
    seed: int
    relabelling: str
    progress: bool
    min_ess: float
    max_seconds: float
    kernel: Kernel = NUTS

    @classmethod
    def of(
        cls,
        *,
        num_warmup: Any,
        num_samples: Any,
        num_chains: Any,
        target_accept_prob: Any,
        seed: Any,
        relabelling: Any,
        progress: Any,
        min_ess: Any = SMALLEST_ESS,
        max_seconds: Any = 120.0,
        kernel: Kernel = NUTS,
    ) -> "SamplingOptions":
        """Check what a user gives; `ArgumentError` when a value cannot be used."""
        check_method(relabelling)
        return cls(
            num_warmup=positive_integer("num_warmup", num_warmup),
            num_samples=None if num_samples is None else positive_integer("num_samples", num_samples),
            num_chains=positive_integer("num_chains", num_chains),
            target_accept_prob=open_probability(target_accept_prob, 0.8, "target_accept_prob"),
            seed=seed_integer(seed),
            relabelling=relabelling,
            progress=bool(progress),
            min_ess=_positive("min_ess", min_ess, "400 is what R-hat and quantiles need."),
            max_seconds=_positive("max_seconds", max_seconds, "Give num_samples for a run of a fixed length."),
            kernel=kernel,
        )

    @property
    def until_done(self) -> bool:
        """Whether to sample until the draws suffice, because no number of them was asked for."""
        return self.num_samples is None

    def identity(self, problem: PosteriorProblem) -> dict[str, str | int | float]:
        """What must be equal in two runs for one to continue the checkpoint of the other.

        The number of samples is not part of it, so that a finished run can be made longer.
        """
        return {
            **problem.fingerprint,
            **({"covariances": "relative"} if RelativeCovariances.of(problem.sites) else {}),
            "sampler": self.kernel.name,
            "num_warmup": self.num_warmup,
            "num_chains": self.num_chains,
            "target_accept_prob": self.target_accept_prob,
            "seed": self.seed,
            **{f"version of {package}": version(package) for package in ("bayes_gmm", "jax", "numpyro")},
        }


def _positive(name: str, value: Any, remedy: str) -> float:
    return real_number(name, value, above=0.0, expected="a number above 0", remedy=remedy)
