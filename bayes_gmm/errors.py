"""Errors and warnings of the package; each error says what was found, what was expected and what to do about it."""


class BayesGMMError(Exception):
    """Base class of every error of this package.

    The message has three parts, which are attributes as well, so that a program can use them:
    what was ``found``, what was ``expected``, and the ``remedy``.
    """

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        super().__init__(found, expected, remedy)
        self.found, self.expected, self.remedy = found, expected, remedy

    def __str__(self) -> str:
        return f"{self.found} Expected {self.expected}. {self.remedy}"


class DataError(BayesGMMError, ValueError):
    """No mixture can be fitted to the table because of its shape, types or values."""


class CellError(DataError, TypeError):
    """A cell of the table is missing or not a number."""


class ArgumentError(BayesGMMError, ValueError):
    """An argument other than the table has an invalid value."""


class UnknownArgumentError(ArgumentError, TypeError):
    """A function has no argument of this name."""


class OutputError(BayesGMMError, OSError):
    """A file or folder cannot be written."""


class FitError(BayesGMMError, RuntimeError):
    """A fit ended without a usable result: it collapsed, did not converge, or is not finite."""


class DataWarning(UserWarning):
    """Something in a file was left out of the table, or is kept in doubt."""


class FitWarning(UserWarning):
    """A fit ended with a result that should be checked."""


class CollapseError(FitError, ValueError):
    """A covariance became singular, where the likelihood has no upper bound."""


class NotFittedError(BayesGMMError, ValueError, AttributeError):
    """A method of an estimator was called before `fit`."""


class ConvergenceWarning(FitWarning):
    """A fit did not converge, or its draws from the posterior cannot be trusted."""
