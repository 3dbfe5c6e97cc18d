"""What is said about speed, from the JSON files alone: `python tests/benchmarks/readme.py [--results FOLDER]`.

`section` is the whole of it, for `tests/benchmarks/README.md`; `highlights` are five rows for the project's README.
Every number is in a file, or follows from one by a function in `measuring.py`. A missed target and a peer that is
faster are written in bold words, in their row and in the list below the tables.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from figure import draw
from measuring import HERE, Record, faults, read

ROOT = HERE.parents[1]
README, PAGE, PICTURE = ROOT / "README.md", HERE / "README.md", ROOT / ".readme" / "speed.png"
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"

PARTS = ("em", "scaling", "memory", "mle", "many_components", "gradient", "nuts", "large", "wait")
"""All parts, in the order in which they run."""

EM_PEERS = ("scikit-learn", "gmmx", "pomegranate")
SHOWN_VERSIONS = ("python", "jax", "numpyro", "numpy", "scipy", "scikit-learn")
PEER_VERSIONS = ("gmmx", "pomegranate", "pymc", "nutpie", "pystan")

WHY = {
    "part of the roofline": "logarithms, sums over components and the M-step count for us but not for the roofline",
    "many components": "where components overlap, moves between them take longer than single starts do, and end higher",
    "peak memory": "a process of ours holds JAX and its compiled programs before the first point",
    "fit_em": "NumPy steps short tables, so that nothing is compiled; from 32 starts, scikit-learn's default from one",
    "fit_nuts": "XLA compiles the whole of the sampler before the first draw, and imports and tracing take 1.8 s",
    "whole fit": "modes, relabelling and the verdict count for us, and in small problems they take most of the call",
    "whole fit against sampling alone": "our modes, relabelling and verdict count, the peer's compiling does not",
    "sampling": "in small problems the loop around the gradient is the cost",
    "14 structures x K = 1..9 on iris": "126 fits from 32 starts each, those of mclust from one; nothing is compiled",
    "bayes-gmm fit faithful --components 2": "imports take 1.2 s, tracing the programs .6, figure and files .8",
}
"""Reasons, shown for what lost only."""

QUESTIONS = {
    "EM iteration": "an EM iteration, by N, D, K",
    "whole fit": "effective draws/s, whole call",
    "sampling": "effective draws/s, sampling alone",
    "fit_em": "waiting for `fit_em`",
    "many components": "time of a fit, K = 8 to 128 (it ends higher)",
}
"""Measures of which the project's README shows two cases each."""


# Cells


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    digits = f"{value:.3g}"
    if "e" not in digits:
        return digits
    return f"{float(digits):,.0f}".replace(",", " ") if abs(value) >= 1 else digits


def times(entry: Record, target: float | None = None, turns: int = 2, worse: str = "slower") -> str:
    """A ratio with its spread, and in words whether the target is met and whether we are behind."""
    spread = f" ({number(entry['low'])} to {number(entry['high'])})" if turns > 1 else " (one turn)"
    text = f"{number(entry['ratio'])}x{spread}"
    words = [f"target {number(target)} {'met' if entry['met'] else 'missed'}"] if target is not None else []
    words += [worse] if entry["ratio"] < 1 else []
    text = ", ".join([text, *words])
    return f"**{text}**" if entry["met"] is False or entry["ratio"] < 1 else text


def versus(found: Record, peer: str) -> str:
    """A peer's median, our ratio to it, and the target; a dash where it did not run."""
    if peer not in found["ratios"]:
        return "-"
    return f"{number(found['summary'][peer]['median'])} = {ratio_to(found, peer)}"


def ratio_to(found: Record, peer: str) -> str:
    """Our ratio to a peer and the target."""
    counts = [found["summary"][name]["turns"] for name in (peer, found["ours"])]
    return times(found["ratios"][peer], found["targets"].get(peer), max(counts), worse(found))


def worse(found: Record) -> str:
    """Word for being behind a peer."""
    return "larger" if found["unit"] == "GB" else "slower"


def limited(found: Record) -> str:
    """Our median against the limit."""
    if found["limit"] is None:
        return "-"
    sign = {"less": "at most", "more": "at least"}[found["better"]]
    text = f"{sign} {number(found['limit'])}: {'met' if found['limit_met'] else 'missed'}"
    return text if found["limit_met"] else f"**{text}**"


def ours(found: Record) -> str:
    """Our median."""
    return number(found["summary"][found["ours"]]["median"])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


# Parts of the section


def measures(records: dict[str, Record], part: str, what: str | None = None) -> list[Record]:
    """Those of a part, by name; none where the part has not run."""
    return [found for found in records.get(part, {}).get("measures", []) if what in (None, found["what"])]


def where(records: dict[str, Record]) -> str:
    """Date, machine and versions; more than one of each where parts ran apart."""
    machines, dates = {}, sorted({record["date"][:10] for record in records.values()})
    for record in records.values():
        about = record["machine"]
        name = f"{about['processor']} ({about['cores']} cores, {about['threads']} threads)"
        machines.setdefault(name, []).extend([about["load_before"][0], about["load_after"][0]])
    described = "; ".join(f"{name}, load {min(loads)} to {max(loads)}" for name, loads in machines.items())
    versions = ", ".join(f"{name} {seen(records, name)}" for name in SHOWN_VERSIONS + PEER_VERSIONS)
    return f"On {' and '.join(dates)}, {described}; {versions}."


def seen(records: dict[str, Record], package: str) -> str:
    """Versions of a package over the parts."""
    return " and ".join(sorted({record["versions"].get(package, "unknown") for record in records.values()}))


def em_table(records: dict[str, Record]) -> str:
    """Milliseconds per iteration by shape."""
    roofline = {found["case"]: found for found in measures(records, "em", "part of the roofline")}
    rows = [
        [
            found["case"],
            ours(found),
            *(versus(found, peer) for peer in EM_PEERS),
            roofline_cell(roofline, found["case"]),
        ]
        for found in measures(records, "em", "EM iteration")
    ]
    return table(["N, D, K", "bayes_gmm", *EM_PEERS, "of the roofline"], rows) if rows else ""


def roofline_cell(roofline: dict[str, Record], case: str) -> str:
    """Fraction and its limit."""
    return f"{ours(roofline[case])}, {limited(roofline[case])}" if case in roofline else "-"


def posterior_table(records: dict[str, Record]) -> str:
    """Effective draws a second, of whole calls and of sampling."""
    rows = []
    for part in ("nuts", "large"):
        sampling = {found["case"]: found for found in measures(records, part, "sampling")}
        for found in measures(records, part, "whole fit"):
            beside = sampling[found["case"]]
            peers = [versus(beside, peer) for peer in ("NumPyro", "PyStan", "PyMC + nutpie")]
            rows.append([found["case"], ours(found), versus(found, "NumPyro"), ours(beside), *peers])
    head = ["data", "whole call", "NumPyro", "sampling", "NumPyro", "PyStan", "PyMC + nutpie"]
    return table(head, rows) if rows else ""


def many_components_table(records: dict[str, Record]) -> str:
    """Seconds of whole fits, and how far above the peer they end."""
    above = {found["case"]: found for found in measures(records, "many_components", "above the best of scikit-learn")}
    rows = [
        [
            found["case"],
            ours(found),
            number(found["summary"][f"{found['ours']}, compiled"]["median"]),
            versus(found, "scikit-learn"),
            f"{ours(above[found['case']])}, {limited(above[found['case']])}" if found["case"] in above else "-",
        ]
        for found in measures(records, "many_components", "many components")
    ]
    head = ["N, D, K", "bayes_gmm, first call", "compiled", "scikit-learn", "nats above the best of scikit-learn"]
    return table(head, rows) if rows else ""


def waiting_table(records: dict[str, Record]) -> str:
    """What a user waits for, and memory."""
    chosen = [found for part in ("wait", "mle", "memory") for found in measures(records, part)]
    chosen += measures(records, "gradient", "potential's gradient") + measures(
        records, "large", "posterior of many points"
    )
    rows = [
        [f"{found['what']}: {found['case']}", f"{ours(found)} {found['unit']}", limited(found), beside(found)]
        for found in chosen
    ]
    return table(["what", "bayes_gmm", "target", "others"], rows) if rows else ""


def beside(found: Record) -> str:
    """All peers of a measure."""
    cells = [f"{peer} {versus(found, peer)}" for peer in peers_of(found)]
    return "; ".join(cells) or "-"


def scaling(records: dict[str, Record]) -> str:
    """Exponents in a sentence."""
    powers = []
    for entry in measures(records, "scaling", "exponent"):
        for name, value in entry["more"]["fitted"].items():
            sizes = [size for size, _ in entry["more"]["points"][name]]
            spread = f"{value['exponent']:.2f} (se {value['standard_error']:.2f})"
            powers.append(f"{entry['case']} from {number(min(sizes))} to {number(max(sizes))} {spread} for {name}")
    return f"Fitted exponents of the time of an iteration: {'; '.join(powers)}." if powers else ""


def gradient(records: dict[str, Record]) -> str:
    """L-BFGS and Adam against EM in a sentence."""
    chosen = [found for found in measures(records, "gradient") if found["what"].startswith("until 1e-06")]
    cases = [f"{found['case']}: {beside(found).replace('**', '')}" for found in chosen if found["ours"] == "EM"]
    return f"Seconds until 1e-6 nats from the optimum, others against EM: {'. '.join(cases)}." if cases else ""


def losses(records: dict[str, Record]) -> Iterator[str]:
    """Every missed target and every faster peer, grouped, with the reason where one is known."""
    for what, texts in losses_by_measure(records).items():
        if texts:
            reason = f" ({WHY[what]})" if what in WHY else ""
            yield f"- {what}{reason}: {'; '.join(texts)}."


def losses_by_measure(records: dict[str, Record]) -> dict[str, list[str]]:
    """What was lost, by the name of the measure."""
    grouped: dict[str, list[str]] = {}
    for part in [part for part in PARTS if part != "gradient"]:
        for found in [found for found in measures(records, part) if found["better"]]:
            grouped.setdefault(found["what"], []).extend(lost(found))
    grouped["potential's gradient"] = [
        text for found in measures(records, "gradient", "potential's gradient") for text in lost(found)
    ]
    return grouped


def lost(found: Record) -> Iterator[str]:
    """What one measure lost."""
    for peer, entry in found["ratios"].items():
        if entry["met"] is False:
            yield f"{found['case']}, {number(entry['ratio'])}x of {number(found['targets'][peer])}x against {peer}"
        elif entry["ratio"] < 1 and not peer.startswith(found["ours"]):
            yield f"{found['case']}, {number(1 / entry['ratio'])}x {worse(found)} than {peer}"
    if found["limit_met"] is False:
        yield f"{found['case']}, {ours(found)} {found['unit']} for {number(found['limit'])}"


def left_out(records: dict[str, Record]) -> str:
    """What was not measured, and why."""
    words = [f"{name}: {why}" for record in records.values() for name, why in record["skipped"].items()]
    if missing := [part for part in PARTS if part not in records]:
        words.append(f"not run: {', '.join(missing)}")
    return "Left out: " + "; ".join(dict.fromkeys(words)) + "." if words else "Nothing was left out."


def section(records: dict[str, Record]) -> str:
    """All of it."""
    if not records:
        return "Nothing has been measured yet."
    missed = list(losses(records))
    texts = [
        where(records)
        + " Full covariances, float64 (gmmx: float32). Quoted are medians of turns; in brackets the least"
        " and the most favourable ratio of two turns. What missed its target or is slower is in bold.",
        "![Ratios to each peer, and growth with the size](../../.readme/speed.png)",
        titled("Milliseconds per EM iteration, from the same start:", em_table(records)),
        scaling(records),
        titled(
            "Effective draws a second of the parameter that mixes worst, 4 chains, same data and prior; a whole call"
            " counts modes, relabelling and verdict for us and compiling for NumPyro; sampling is warm-up and draws:",
            posterior_table(records),
        ),
        titled(
            "Seconds to the maximum with many components, against scikit-learn's `n_init=10` and three single starts:",
            many_components_table(records),
        ),
        titled("What one waits for, and memory:", waiting_table(records)),
        gradient(records),
        titled("Lost:", "\n".join(missed)) or "Nothing was lost.",
        left_out(records),
    ]
    return "\n\n".join(text for text in texts if text)


def highlights(records: dict[str, Record]) -> str:
    """The figure and five rows: of each question the worst and the best case against a peer, lost or not."""
    rows = [
        [question, against_a_peer(pairs[0]), against_a_peer(pairs[-1])]
        for what, question in QUESTIONS.items()
        if (pairs := by_ratio(records, what))
    ]
    if not rows:
        return "Nothing has been measured yet."
    lost = sum(map(len, losses_by_measure(records).values()))
    return "\n\n".join(
        [
            "![Ratios to each peer, and growth with the size](.readme/speed.png)",
            table(["times better than a peer (range of turns)", "worst case", "best case"], rows),
            f"In bold: lost. The page lists all {lost} such cases.",
        ]
    )


def by_ratio(records: dict[str, Record], what: str) -> list[tuple[Record, str]]:
    """Cases and peers of a measure, from the smallest ratio to the largest."""
    pairs = [(found, peer) for part in PARTS for found in measures(records, part, what) for peer in peers_of(found)]
    return sorted(pairs, key=lambda pair: pair[0]["ratios"][pair[1]]["ratio"])


def against_a_peer(pair: tuple[Record, str]) -> str:
    """Ratio to a peer, and in which case."""
    found, peer = pair
    return f"{ratio_to(found, peer)}: {peer}, {found['case']}"


def peers_of(found: Record) -> list[str]:
    """Other programs of a measure, without our own under other conditions."""
    return [peer for peer in found["ratios"] if not peer.startswith(found["ours"])]


def titled(title: str, text: str) -> str:
    """A table under its title, nothing where there is no table."""
    return f"{title}\n\n{text}" if text else ""


def put(page: str, text: str) -> str:
    """The page with the text between the markers."""
    pattern = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", flags=re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise SystemExit(f"the page must hold {BEGIN} and {END} once")
    return pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", page)


def update(results: Path, page: Path, readme: Path, picture: Path, quick: bool = False) -> None:
    """Write the whole section into the page, five rows into the README, and the figure."""
    records = read(results)
    for part, record in records.items():
        if wrong := faults(part, record, quick):
            raise SystemExit(f"{results / part}.json: {'; '.join(wrong)}; measure it again")
    for path, text in ((page, section(records)), (readme, highlights(records))):
        path.write_text(put(path.read_text(encoding="utf-8"), text), encoding="utf-8")
    if records:
        draw(records, picture)


def main() -> None:
    """From the results in the repository, or in another folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, default=HERE / "results")
    update(parser.parse_args().results, PAGE, README, PICTURE)


if __name__ == "__main__":
    main()
