"""What a user asks of the sampler: how long, how many chains, from what seed."""

from importlib.metadata import version
from typing import Any, NamedTuple

from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.core.validation import open_probability, positive_integer, seed_integer
from bayes_gmm.posterior.relabelling import check_method


class Run(NamedTuple):
    """Checked arguments that say how long and from what seed to sample."""

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
        num_warmup: Any,
        num_samples: Any,
        num_chains: Any,
        target_accept_prob: Any,
        seed: Any,
        relabelling: Any,
        progress: Any,
    ) -> "Run":
        """Check what a user gives."""
        check_method(relabelling)
        return cls(
            positive_integer("num_warmup", num_warmup),
            positive_integer("num_samples", num_samples),
            positive_integer("num_chains", num_chains),
            open_probability(target_accept_prob, 0.8, "target_accept_prob"),
            seed_integer(seed),
            relabelling,
            bool(progress),
        )

    def identity(self, problem: PosteriorProblem) -> dict[str, str | int | float]:
        """What must be the same when a checkpoint is gone on with."""
        return {
            **problem.fingerprint,
            "num_warmup": self.num_warmup,
            "num_chains": self.num_chains,
            "target_accept_prob": self.target_accept_prob,
            "seed": self.seed,
            **{f"version of {package}": version(package) for package in ("bayes_gmm", "jax", "numpyro")},
        }
