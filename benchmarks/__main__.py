"""`python -m benchmarks`: measure, print the tables, write them and the sheet of pictures."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from pathlib import Path

import styletransfer
from styletransfer import console

styletransfer.tune_process()  # as the page and the command line do, before torch is loaded

from styletransfer import Settings  # noqa: E402

from . import measure, pictures, report, scaling  # noqa: E402
from .measure import PAIRS, log  # noqa: E402

HERE = Path(__file__).parent
PLAIN_ITERATIONS = 300


def parse_args() -> argparse.Namespace:
    """The command line; --short means smaller numbers everywhere."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="ten minutes; extrapolates the plain loop, leaves classic out"
    )
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, help="default: all, with --short the portrait")
    parser.add_argument("--size", type=int, help="long side in pixels (default: 512, with --short 256)")
    parser.add_argument("--sizes", type=int, nargs="+", help="of the runs whose growth is shown (default: 256 to 8192)")
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
    args.iterations = 15 if short else PLAIN_ITERATIONS
    args.max_iterations = Settings().iterations if short else math.inf
    args.examples = pictures.read_pairs()[: 1 if short else None]
    args.ways = [way for way in pictures.WAYS if not (short and way == "classic")]
    args.sizes = args.sizes or ([256, 512] if short else [256, 512, 1024, 2048, 4096, 8192])
    return args


def main() -> None:
    """Measure one thing after another. The tables are written after each, since a full run takes hours."""
    console.escape_unprintable()
    args = parse_args()
    head = report.machine(f"python -m benchmarks {shlex.join(sys.argv[1:])}".strip(), args.iterations)
    sections = ["# Benchmark", head]

    def add(section: str) -> None:
        print(f"\n{section}", flush=True)
        sections.append(section)
        write()

    def write() -> None:
        if args.out:
            args.out.write_text("\n\n".join(sections) + "\n", encoding="utf-8")

    print("\n\n".join(sections))
    log("one iteration")
    iteration = measure.measure_iteration(args.size, args.times)
    add(report.iteration_section(iteration))

    log("first painted picture")
    firsts = {name: measure.measure_first_painted(PAIRS[name], args.size, args.max_iterations) for name in args.pairs}
    add(report.first_section(firsts))

    log("pictures of other shapes")
    add(report.shapes_section(measure.measure_shapes(PAIRS["portrait"], args.size)))

    results = []
    for name in args.pairs:
        results.append(measure.measure_pair(PAIRS[name], args.size, args.iterations, args.max_iterations))
        add(report.pair_section(results[-1], args.size, PLAIN_ITERATIONS))

    plain = {(r.pair.photo, r.pair.painting): {"plain": r.plain.picture} for r in results}
    galleries = []
    for pair in args.examples:
        others = plain.get((pair.photo, pair.painting), {})
        galleries.append(pictures.paint_pair(pair, args.size, args.ways, others))
        if args.sheet:
            args.sheet.write_bytes(report.sheet(galleries))
    add(report.pictures_section(galleries, args.size))

    costs = []
    for size in args.sizes:
        log(f"scaling, {size} px")
        costs.append(scaling.measure(PAIRS["portrait"].photo, PAIRS["portrait"].painting, size))
    add(report.scaling_section(costs))
    add(report.LEGEND)

    all_firsts = [first for found in firsts.values() for first in found]
    summary = report.summary(iteration, results, all_firsts, costs, PLAIN_ITERATIONS)
    print(f"\n{summary}")
    sections.insert(2, summary)
    write()


if __name__ == "__main__":
    main()
