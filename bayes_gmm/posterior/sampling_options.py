"""What a user asks of the sampler: how many transitions and chains, and from what seed."""

from importlib.metadata import version
from typing import Any, NamedTuple

from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.core.validation import open_probability, positive_integer, seed_integer
from bayes_gmm.posterior.relabelling import check_method


class SamplingOptions(NamedTuple):
    """Checked arguments of `fit_nuts` that concern sampling and relabelling."""

    num_warmup: int
    num_samples: int
    num_chains: int
    target_accept_prob: float
    seed: int
    relabelling: str
    progress: bool

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
    ) -> "SamplingOptions":
        """Check what a user gives; `ArgumentError` when a value cannot be used."""
        check_method(relabelling)
        return cls(
            num_warmup=positive_integer("num_warmup", num_warmup),
            num_samples=positive_integer("num_samples", num_samples),
            num_chains=positive_integer("num_chains", num_chains),
            target_accept_prob=open_probability(target_accept_prob, 0.8, "target_accept_prob"),
            seed=seed_integer(seed),
            relabelling=relabelling,
            progress=bool(progress),
        )

    def identity(self, problem: PosteriorProblem) -> dict[str, str | int | float]:
        """What must be equal in two runs for one to continue the checkpoint of the other.

        The number of samples is not part of it, so that a finished run can be made longer.
        """
        return {
            **problem.fingerprint,
            "num_warmup": self.num_warmup,
            "num_chains": self.num_chains,
            "target_accept_prob": self.target_accept_prob,
            "seed": self.seed,
            **{f"version of {package}": version(package) for package in ("bayes_gmm", "jax", "numpyro")},
        }
