"""What the parts of the benchmark share: where they ran, turns, ratios with their spread, fresh processes, JSON.

A part is a function from `quick` and a `Skipped` to measures. A measure holds every turn of every program and what
follows from them by pure functions (`summary`, `ratio`), so that anybody can work it out again from the file.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
OURS = "bayes_gmm"

PACKAGES = ("bayes_gmm", "jax", "jaxlib", "numpyro", "numpy", "scipy", "arviz", "scikit-learn")
PEERS = ("gmmx", "pomegranate", "torch", "pymc", "nutpie", "pystan")
IMPORTED = {"scikit-learn": "sklearn", "PyStan": "stan", "PyMC + nutpie": "nutpie", "NumPyro": "numpyro"}
"""Name of the module where it is not that of the program."""

type Record = dict[str, Any]
type Skipped = dict[str, str]
"""Why a program was left out, by `program` or `program, case`."""


# Numbers


def summary(turns: Sequence[float]) -> Record:
    """Median, smallest and largest of the turns."""
    values = [float(value) for value in turns]
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"turns must be finite numbers, at least one: {values}")
    return {"median": float(np.median(values)), "low": min(values), "high": max(values), "turns": len(values)}


def ratio(ours: Sequence[float], theirs: Sequence[float], better: str = "less") -> Record:
    """By how much ours is better: the ratio of medians, and the least and most favourable ratio of two turns."""
    mine, peer = summary(ours), summary(theirs)
    if min(mine["low"], peer["low"]) <= 0:
        raise ValueError(f"a ratio needs positive turns: {list(ours)}, {list(theirs)}")
    above, below = {"less": (peer, mine), "more": (mine, peer)}[better]
    return {
        "ratio": above["median"] / below["median"],
        "low": above["low"] / below["high"],
        "high": above["high"] / below["low"],
    }


def exponent(sizes: Sequence[float], values: Sequence[float]) -> Record:
    """Slope of log(values) over log(sizes) by least squares, and its standard error."""
    if len(sizes) < 3 or not all(0 < number < math.inf for number in (*sizes, *values)):
        raise ValueError(f"an exponent needs three or more positive sizes and values: {sizes}, {values}")
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(values, float))
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    residuals = y - y.mean() - slope * centred
    return {
        "exponent": slope,
        "standard_error": float(np.sqrt(residuals @ residuals / (len(x) - 2) / (centred @ centred))),
    }


def measure(
    what: str,
    case: str,
    unit: str,
    turns: Mapping[str, Sequence[float]],
    *,
    better: str | None = "less",
    targets: Mapping[str, float] | None = None,
    limit: float | None = None,
    ours: str = OURS,
    **more: Any,
) -> Record:
    """All turns, their summaries, our ratio to each peer, and whether targets (ratios) and the limit (value) are met.

    Of what is neither better more nor less, `better` is None, and there are no ratios.
    """
    record = {"what": what, "case": case, "unit": unit, "better": better, "ours": ours}
    record |= {"turns": {name: [float(value) for value in values] for name, values in turns.items()}}
    return record | derived(record["turns"], better, ours, targets or {}, limit) | ({"more": more} if more else {})


def derived(
    turns: Mapping[str, Sequence[float]],
    better: str | None,
    ours: str,
    targets: Mapping[str, float],
    limit: float | None,
) -> Record:
    """What follows from the turns; a target for a peer that did not run is kept, and neither met nor missed."""
    found: Record = {"summary": {name: summary(values) for name, values in turns.items()}}
    found |= {"targets": dict(targets), "limit": limit, "limit_met": None}
    peers = [name for name in turns if name != ours] if better else []
    found["ratios"] = {name: ratio(turns[ours], turns[name], better) for name in peers}
    for name, entry in found["ratios"].items():
        entry["met"] = bool(entry["ratio"] >= targets[name]) if name in targets else None
    if limit is not None:
        value = found["summary"][ours]["median"]
        found["limit_met"] = bool(value <= limit if better == "less" else value >= limit)
    return found


# Programs


def installed(programs: Iterable[str], skipped: Skipped) -> list[str]:
    """Those programs that can be imported here; what cannot is noted."""
    names = list(programs)
    missing = [name for name in names if find_spec(IMPORTED.get(name, name)) is None]
    for name in missing:
        skipped[name] = "not installed"
    return [name for name in names if name not in missing]


def attempt(name: str, case: str, function: Callable[[], Any], skipped: Skipped) -> Any:
    """What the function returns; None, and a note, where a peer fails. Ours must not."""
    try:
        return function()
    except Exception as error:
        if name.startswith(OURS):
            raise
        skipped[f"{name}, {case}"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        say(f"  {name}, {case}: {skipped[f'{name}, {case}']}")
        return None


def take_turns(
    programs: Mapping[str, Callable[[int], Any]], repeats: int | Mapping[str, int], case: str, skipped: Skipped
) -> dict[str, list[Any]]:
    """Call each program with the number of the turn, in turn, so many times; a peer that fails is left out."""
    times = {name: repeats if isinstance(repeats, int) else repeats[name] for name in programs}
    results: dict[str, list[Any]] = {name: [] for name in programs}
    for turn in range(max(times.values())):
        for name in [name for name in results if turn < times[name]]:
            found = attempt(name, case, lambda name=name, turn=turn: programs[name](turn), skipped)
            if found is None:
                del results[name]
            else:
                results[name].append(found)
    return results


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def fresh(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[float, float, str]:
    """Wall seconds, processor seconds and output of a Python process of its own, which inherits no compile cache."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    before, begin = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        env=inherited | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    wall, after = time.perf_counter() - begin, os.times()
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no message").splitlines()[-1])
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, processor, done.stdout


# Records


def environment() -> Record:
    """When and on what; the load tells how many others shared the machine."""
    return {
        "date": datetime.now().isoformat(timespec="minutes"),
        "machine": {
            "processor": processor(),
            "cores": physical_cores(),
            "threads": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "system": f"{platform.system()} {platform.machine()}",
            "load_before": [round(load, 2) for load in os.getloadavg()],
        },
        "versions": {"python": platform.python_version()}
        | {name: installed_version(name) for name in PACKAGES + PEERS},
    }


def installed_version(name: str) -> str:
    """Version of a distribution, in words where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def cpuinfo() -> list[dict[str, str]]:
    """One dictionary for each thread, as the kernel tells."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    threads = [[line.split(":", 1) for line in block.splitlines() if ":" in line] for block in text.split("\n\n")]
    return [{name.strip(): value.strip() for name, value in thread} for thread in threads if thread]


def processor() -> str:
    """Model name of the processor."""
    names = {thread["model name"] for thread in cpuinfo() if "model name" in thread}
    return "; ".join(sorted(names)) or platform.processor() or platform.machine()


def physical_cores() -> int | None:
    """Cores that are not threads of another."""
    cores = {(thread.get("physical id"), thread.get("core id")) for thread in cpuinfo()}
    return len(cores) if cores and (None, None) not in cores else os.cpu_count()


def write(path: Path, record: Record) -> None:
    """Write JSON whole or not at all; NaN is refused."""
    text = json.dumps(record, indent=1, allow_nan=False, default=lambda number: number.item()) + "\n"
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8") as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def read(folder: Path) -> dict[str, Record]:
    """Records of a folder by part."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def faults(part: str, record: Record, quick: bool = False) -> list[str]:
    """What makes a record no evidence: something missing, a quick run, or numbers that do not follow from the turns."""
    needed = {"date": (), "machine": ("processor", "cores", "threads", "load_before", "load_after")}
    needed |= {
        "versions": ("python", *PACKAGES, *PEERS),
        "took_seconds": (),
        "repeats": (),
        "skipped": (),
        "measures": (),
    }
    found = [name for name in needed if name not in record]
    found += [f"{name}: {key}" for name in needed if name in record for key in needed[name] if key not in record[name]]
    wrong = [f"no {name}" for name in found]
    wrong += [] if quick else ["a quick run"] if record.get("quick", True) else []
    wrong += [] if record.get("part") == part else [f"of another part: {record.get('part')}"]
    for entry in record.get("measures", []):
        again = derived(entry["turns"], entry["better"], entry["ours"], entry["targets"], entry["limit"])
        if any(entry[name] != value for name, value in again.items()):
            wrong.append(f"{entry['what']}, {entry['case']}: not what follows from the turns")
    return wrong


def say(text: str) -> None:
    """Progress, at once."""
    print(text, flush=True)


def describe(found: Record) -> str:
    """A measure in one line."""
    ours = found["summary"][found["ours"]]["median"]
    text = f"  {found['what']}, {found['case']}: {ours:.3g} {found['unit']}"
    for name, entry in found["ratios"].items():
        text += f"; {name} {found['summary'][name]['median']:.3g} = {entry['ratio']:.2f}x"
    return text


def main(part: str, function: Callable[[bool, Skipped], Iterable[Record]]) -> None:
    """Measure a part and write its JSON: what each script here does when it is run."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small shapes, one turn: tests the tool, measures nothing")
    parser.add_argument("--into", type=Path, default=HERE / "results", metavar="FOLDER")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # runs are cut short on purpose
    begin, skipped, measures = time.perf_counter(), {}, []
    record = {"part": part, "quick": options.quick} | environment()
    for found in function(options.quick, skipped):
        measures.append(found)
        say(describe(found))
    record["machine"]["load_after"] = [round(load, 2) for load in os.getloadavg()]
    repeats = max((len(values) for found in measures for values in found["turns"].values()), default=0)
    record |= {"took_seconds": round(time.perf_counter() - begin, 1), "repeats": repeats, "skipped": skipped}
    options.into.mkdir(parents=True, exist_ok=True)
    write(options.into / f"{part}.json", record | {"measures": measures})
