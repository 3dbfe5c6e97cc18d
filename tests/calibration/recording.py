"""What a test found, as a JSON file: its numbers, and how to get them again."""

import json
import platform
import time
from collections.abc import Iterable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
VERSIONS = ("bayes_gmm", "jax", "numpyro", "numpy", "scipy", "arviz")


class Row(NamedTuple):
    """One line of the table in the README, or one that only the JSON file has."""

    what: str
    setting: str
    expected: str
    found: str
    holds: bool
    shown: bool = True


class Record:
    """Writes results where that is asked for, and prints the rows in any case."""

    def __init__(self, portion: float, folder: Path | None) -> None:
        self.portion, self.folder, self.begin = portion, folder, time.perf_counter()

    def number(self, usual: int) -> int:
        """How many data sets, where usually so many."""
        return max(2, round(self.portion * usual))

    def __call__(self, name: str, rows: Iterable[Row], settings: dict[str, Any], numbers: dict[str, Any]) -> None:
        """Keep the rows, the settings with seeds, and the numbers behind them."""
        rows = list(rows)
        for row in rows:
            print(f"\n{row.what} | {row.setting} | expected {row.expected} | found {row.found} | {row.holds}")
        if self.folder is None:
            return
        result = {
            "name": name,
            "date": date.today().isoformat(),
            "minutes": round((time.perf_counter() - self.begin) / 60, 2),
            "portion": self.portion,
            "cpu": processor(),
            "python": platform.python_version(),
            "versions": {package: version(package) for package in VERSIONS},
            "settings": settings,
            "rows": [row._asdict() for row in rows],
            "numbers": numbers,
        }
        self.folder.mkdir(exist_ok=True)
        lines = [f"{json.dumps(key)}: {json.dumps(value, default=_plain)}" for key, value in result.items()]
        (self.folder / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Arrays and numbers of NumPy as lists and numbers."""
    return value.tolist()


def processor() -> str:
    """Model name of the CPU."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()
