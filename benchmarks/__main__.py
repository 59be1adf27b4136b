"""`python -m benchmarks`: measure, print the tables, write them and the sheet of pictures."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from pathlib import Path

from styletransfer import Settings

from . import growth, measure, report
from .measure import PAIRS, say

HERE = Path(__file__).parent
PLAIN_EVALUATIONS = 300


def arguments() -> argparse.Namespace:
    """The command line; --short stands for smaller figures everywhere."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="under two minutes; extrapolates the plain loop")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, help="default: all, with --short the portrait")
    parser.add_argument("--size", type=int, help="long side in pixels (default: 512, with --short 256)")
    parser.add_argument("--out", type=Path, help="the tables (default: benchmarks/RESULTS.md, with --short none)")
    parser.add_argument("--sheet", type=Path, help="the pictures (default: benchmarks/sheet.jpg, with --short none)")
    args = parser.parse_args()
    short = args.short
    args.pairs = args.pairs or (["portrait"] if short else list(PAIRS))
    args.size = args.size or (256 if short else 512)
    if args.size < 128:  # a quarter of it must be enough for conv5_1
        parser.error("--size must be at least 128")
    args.out = args.out or (None if short else HERE / "RESULTS.md")
    args.sheet = args.sheet or (None if short else HERE / "sheet.jpg")
    args.times = 3 if short else 7
    args.evaluations = 15 if short else PLAIN_EVALUATIONS
    args.most = Settings().iterations if short else math.inf
    args.growth = (256, 512) if short else (256, 512, 1024, 2048)
    return args


def main() -> None:
    """Measure one thing after the other; the tables are written after each, since a full run takes an hour."""
    args = arguments()
    head = report.machine(f"python -m benchmarks {shlex.join(sys.argv[1:])}".strip(), args.evaluations)
    sections = ["# Benchmark", head]

    def add(section: str) -> None:
        print(f"\n{section}", flush=True)
        sections.append(section)
        write()

    def write() -> None:
        if args.out:
            args.out.write_text("\n\n".join(sections) + "\n", encoding="utf-8")

    print("\n\n".join(sections))
    say("one evaluation")
    evaluation = measure.evaluation(args.size, args.times)
    add(report.evaluation_section(evaluation))

    say("first painted picture")
    firsts = {name: measure.first_painted(PAIRS[name], args.size, args.most) for name in args.pairs}
    add(report.first_section(firsts))

    say("pictures of other shapes")
    add(report.shapes_section(measure.shapes(PAIRS["portrait"], args.size)))

    results = []
    for name in args.pairs:
        results.append(measure.measure_pair(PAIRS[name], args.size, args.evaluations, args.most))
        add(report.pair_section(results[-1], args.size, PLAIN_EVALUATIONS))
        if args.sheet:
            args.sheet.write_bytes(report.sheet(results))

    grown = []
    for size in args.growth:
        say(f"growth, {size} px")
        grown.append(growth.measure(PAIRS["portrait"].photo, PAIRS["portrait"].painting, size))
    add(report.growth_section(grown))
    add(report.LEGEND)

    everything = [first for found in firsts.values() for first in found]
    summary = report.summary(evaluation, results, everything, grown)
    print(f"\n{summary}")
    sections.insert(2, summary)
    write()


if __name__ == "__main__":
    main()
