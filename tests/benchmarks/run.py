"""Everything that the pages say about speed, measured and written there by one command.

    pip install -e '.[bench]'
    python tests/benchmarks/run.py [PART ...] [--quick]

Each part runs in a process of its own and writes `tests/benchmarks/results/PART.json`; then the tables of
`tests/benchmarks/README.md`, the five rows of the project's README and their figure are made anew from all the files
there. Peers that are not installed are left out, and that is said (pomegranate brings PyTorch, several gigabytes). On
two quiet cores everything takes about 35 minutes.
With `--quick` shapes are small and each program has one turn: that tests the tool in two or three minutes (more with
peers that compile), and goes to a temporary folder only.
A part that fails or takes too long leaves its old file as it was, the others go on, and the exit status is 1.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import HERE, say
from readme import PAGE, PARTS, PICTURE, README, update

LONGEST = 1200
"""Seconds after which a part is given up."""


def run(part: str, into: Path, quick: bool) -> bool:
    """Measure one part in a process of its own, and whether it went well."""
    command = [sys.executable, str(HERE / f"bench_{part}.py"), "--into", str(into), *(["--quick"] if quick else [])]
    say(f"{part} ...")
    begin = time.perf_counter()
    try:
        problem = (
            f"status {status}" if (status := subprocess.run(command, timeout=LONGEST, check=False).returncode) else ""
        )
    except subprocess.TimeoutExpired:
        problem = f"given up after {LONGEST} s"
    say(f"{part}: {problem or 'done'}, {time.perf_counter() - begin:.0f} s\n")
    return not problem


def main() -> None:
    """Run the parts that are asked for, then write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all when none")
    parser.add_argument("--quick", action="store_true", help="test the tool: results and pages stay as they are")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    chosen = [part for part in PARTS if part in (options.parts or PARTS)]
    results, page, readme, picture = HERE / "results", PAGE, README, PICTURE
    if options.quick:
        results = Path(tempfile.mkdtemp(prefix="bayes_gmm_benchmarks_"))
        page = Path(shutil.copy(page, results / "benchmarks.md"))
        readme, picture = Path(shutil.copy(readme, results)), results / "speed.png"
    failed = [part for part in chosen if not run(part, results, options.quick)]
    update(results, page, readme, picture, options.quick)
    say(f"results in {results}, tables in {page}" + (f"; FAILED: {', '.join(failed)}" if failed else ""))
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
