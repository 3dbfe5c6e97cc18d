"""What can go wrong, each with what was found, what was expected and what to do."""


class BayesGMMError(Exception):
    """Base of every error of this package.

    The message has three parts, kept as attributes so that a program can use them:
    what was ``found``, what was ``expected``, and the ``remedy``.
    """

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        super().__init__(found, expected, remedy)
        self.found, self.expected, self.remedy = found, expected, remedy

    def __str__(self) -> str:
        return f"{self.found} Expected {self.expected}. {self.remedy}"


class DataError(BayesGMMError, ValueError):
    """The table cannot be fitted: its shape, type or values are not those of data."""


class CellError(DataError, TypeError):
    """A cell of the table holds something that is no number."""


class ArgumentError(BayesGMMError, ValueError):
    """An argument other than the table has a value that is not allowed."""


class OutputError(BayesGMMError, OSError):
    """A result cannot be written where it was asked to go."""


class FitError(BayesGMMError, RuntimeError):
    """A fit ended without an answer that can be used (collapsed, not finite, not converged)."""


class FitWarning(UserWarning):
    """A fit ended with an answer that deserves a second look."""


class CollapseError(FitError, ValueError):
    """A covariance became singular, so that the likelihood has no upper bound."""


class NotFittedError(BayesGMMError, ValueError, AttributeError):
    """An estimator was asked for what only `fit` can tell."""


class ConvergenceWarning(FitWarning):
    """A fit ended before it came to rest, or its posterior is not to be trusted."""
