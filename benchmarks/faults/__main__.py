"""Seed one fault into a model file from the command line; prints what was seeded as JSON."""

from __future__ import annotations

import argparse
import json

from benchmarks.faults import FORMATS, TYPES
from benchmarks.faults.worker import inject


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("source", metavar="MODEL")
    parser.add_argument("out", metavar="FAULTY")
    parser.add_argument("--type", choices=TYPES, default=["WB"], nargs="+")
    parser.add_argument("--strength", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    wanted = [(type_, args.strength) for type_ in args.type]
    print(json.dumps(inject(args.format, args.source, args.out, wanted, args.seed), indent=1))


if __name__ == "__main__":
    main()
