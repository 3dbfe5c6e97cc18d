"""Options of the calibration record.

    python -m pytest -m slow -n2 tests/calibration --record
    python tests/calibration/calibration_page.py

measure everything, keep it in `results/`, and write the section of the README and its figure from there.
"""

import pytest
from recording import RESULTS, Record


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="write what is found to tests/calibration/results")
    parser.addoption("--portion", type=float, default=1.0, help="portion of the usual number of data sets")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Options are missing where pytest was not called on this folder."""
    config = request.config
    return Record(config.getoption("--portion", 1.0), RESULTS if config.getoption("--record", False) else None)
