#!/usr/bin/env python3
"""Faults seeded into right Targets, and what ``safeconvert repair`` says and does about them.

    python benchmarks/seeded_faults.py --small --json small.jsonl                    # minutes, no data needed
    python benchmarks/seeded_faults.py --data DIR --models mobilenet_v2 --json all.jsonl

For each model and format the right Target is made once (a verified conversion; a copy where the format is the
Source's). Each trial seeds faults into a copy, looks in the native runtimes at how many labels of the calibration
photos differ, draws again until that is of the size asked for (or keeps the nearest), and runs the command as a person
would. What stands in the JSON file is not done again.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.faults import FORMATS, TYPES, small_nets  # noqa: E402
from benchmarks.faults.worker import Refused, Worker  # noqa: E402
from model_zoo import NETWORKS, NotBuilt, Stored, build, choose, link  # noqa: E402
from model_zoo.making import SUFFIX, preprocess_file  # noqa: E402
from safeconvert.comparison.tolerance import Tolerance  # noqa: E402
from safeconvert.inputs.base import split  # noqa: E402
from safeconvert.inputs.preprocess import Preprocess  # noqa: E402
from safeconvert.models.input_mapping import match_outputs  # noqa: E402

# Label discrepancy in percent: above the first, up to the second.
SIZES = {"slight": (0.0, 10.0), "middling": (10.0, 60.0), "glaring": (60.0, 100.0)}
FIRST = {"slight": 0.05, "middling": 0.3, "glaring": 1.0}  # strength to begin with
PLACES, STRENGTHS = 12, 5  # draws: so many places, so many strengths at each
SIDE = {"inception_v3": 299}
COMPANIONS = ("WB", "LH", "CG", "TSS")  # types of the second and third fault at once
Array = np.ndarray[Any, Any]
Row = dict[str, Any]


@dataclass
class Case:
    """One model: its Source, how the command reads it, its photos, and the right Targets made so far."""

    name: str
    format: str
    source: Path
    arguments: tuple[str, ...]
    preprocess: Preprocess
    preprocess_file: Path
    images: Path
    size: tuple[int, int]
    folder: Path
    right: dict[str, Path] = field(default_factory=dict)
    expected: tuple[list[str], list[Array]] | None = None
    batches: dict[Preprocess, Array] = field(default_factory=dict)

    def batch(self, preprocess: Preprocess) -> Array:
        """The calibration photos as float32 NHWC."""
        if preprocess not in self.batches:
            everything = small_nets.batch(self.images, preprocess, *self.size)
            self.batches[preprocess] = everything[list(split(len(everything), 0.5, 0)[0])]
        return self.batches[preprocess]


class Bench:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.workers = {format: Worker(format) for format in FORMATS}
        self.cases: dict[str, Case] = {}

    def case(self, name: str) -> Case:
        if name not in self.cases:
            folder = self.args.work / name
            folder.mkdir(parents=True, exist_ok=True)
            self.cases[name] = self._small(name, folder) if self.args.small else self._real(name, folder)
        return self.cases[name]

    def _small(self, name: str, folder: Path) -> Case:
        format, height, width = small_nets.SMALL[name]
        source = folder / f"source{SUFFIX[format]}"
        if not source.exists():
            self.workers[format].call("small", name, str(source))
        file = folder / "preprocess.json"
        file.write_text(json.dumps(small_nets.PREPROCESS.to_json()), encoding="utf-8")
        images = small_nets.pictures(self.args.work / f"pictures-{self.args.rows}", self.args.rows)
        size = (height, width)
        return Case(name, format, source, (), small_nets.PREPROCESS, file, images, size, folder)

    def _real(self, name: str, folder: Path) -> Case:
        network = NETWORKS[name]
        stored = isinstance(network.recipes["keras"].way, Stored)
        format, cache = "keras" if stored else "torch", self.args.work / "zoo"
        built = build(network, format, self.args.data, cache)
        images = link(choose(network, self.args.data, self.args.rows), folder / f"photos-{self.args.rows}")
        side = SIDE.get(name, 224)
        preprocessing = (network.preprocess, preprocess_file(network, cache))
        return Case(name, format, built.path, built.arguments, *preprocessing, images, (side, side), folder)

    def right(self, case: Case, format: str) -> Path:
        """The right Target in this format. Raises :class:`Refused` where no conversion verified."""
        path = case.folder / f"right{SUFFIX[format]}"
        if not path.exists():
            if format != case.format:
                self._convert(case, format, path)
            elif case.source.suffix == SUFFIX[format]:
                shutil.copy(case.source, path)
            else:
                model_fn = case.arguments[case.arguments.index("--model-fn") + 1]
                shape = [1, 3, *case.size]
                self.workers[format].call("export", str(case.source), str(path), model_fn, shape)
        case.right[format] = path
        return path

    def _convert(self, case: Case, format: str, path: Path) -> None:
        from safeconvert.api import convert

        print(f"making {case.name} in {format}", file=sys.stderr, flush=True)
        options = _options(case.arguments)
        keywords: dict[str, Any] = {"images": case.images, "preprocess": str(case.preprocess_file), "force": True}
        result = convert(case.source, format, output=path, **keywords, **options)
        if result.target is None:
            raise Refused(f"{case.name} in {format}: {result.verdict.value}: {'; '.join(result.reasons)}")

    def expected(self, case: Case) -> tuple[list[str], list[Array]]:
        if case.expected is None:
            path = str(self.right(case, case.format))
            case.expected = self.workers[case.format].call("run", path, case.batch(case.preprocess))
        return case.expected

    def measure(self, case: Case, format: str, target: Path, preprocess: Preprocess) -> tuple[float, bool]:
        """Percent of the calibration photos whose labels differ from the Source's, and whether anything differs."""
        names, source = self.expected(case)
        target_names, target_outputs = self.workers[format].call("run", str(target), case.batch(preprocess))
        return difference(source, match_outputs(names, target_names, target_outputs))

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.stop()


def _options(arguments: Sequence[str]) -> dict[str, Any]:
    values = dict(zip(arguments[::2], arguments[1::2], strict=True))
    options: dict[str, Any] = {}
    if "--model-fn" in values:
        options["model_fn"] = values["--model-fn"]
    if "--input-shape" in values:
        options["input_shape"] = {"": tuple(int(n) for n in values["--input-shape"].split(","))}
    return options


def difference(source: Sequence[Array], target: Sequence[Array]) -> tuple[float, bool]:
    if [a.shape for a in source] != [b.shape for b in target]:
        return 100.0, True
    labels = np.zeros(len(source[0]), bool)
    values = False
    tolerance = Tolerance()
    for a, b in zip(source, target, strict=True):
        a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
        labels |= (a.argmax(1) != b.argmax(1)) | ~np.isfinite(b).all(1)
        values |= bool((~(np.abs(a - b).max(1) <= tolerance.of(a))).any())
    return 100.0 * float(labels.mean()), values


# --- seeding


@dataclass(frozen=True)
class Trial:
    model: str
    format: str
    type: str
    at_once: int
    size: str
    index: int

    @property
    def key(self) -> str:
        return "/".join(map(str, (self.model, self.format, self.type, self.at_once, self.size, self.index)))


def seed_faults(bench: Bench, case: Case, trial: Trial, out: Path) -> Row:
    """Draw until the fault is of the size asked for; gives the nearest drawn. Raises :class:`Refused` for none."""
    start = zlib.crc32(f"{bench.args.seed}/{trial.key}".encode())
    random = np.random.default_rng(start)
    low, high = SIZES[trial.size]
    best: tuple[float, Row] | None = None
    draws, why, begun = 0, "", time.monotonic()
    for place in range(PLACES):
        if best is not None and time.monotonic() - begun > bench.args.draw_seconds:
            break
        deployed = trial.type == "PP" and random.random() < 0.5
        others = [COMPANIONS[i] for i in random.integers(len(COMPANIONS), size=trial.at_once - 1)]
        strength, before = FIRST[trial.size], None
        for _ in range(STRENGTHS):
            draws += 1
            drawn = {
                "place": place,
                "strength": strength,
                "others": others,
                "deployed": deployed,
                "seed": start + place,
            }
            try:
                row = _seed(bench, case, trial, drawn, out)
            except Refused as error:
                why = str(error).splitlines()[0]
                break
            percent = row["percent"]
            far = max(low - percent, percent - high, 0.0)
            if trial.size == "slight" and percent == 0 and row["changed"]:
                far = 0.5  # values alone differ: as good as slight, if nothing nearer comes
            if row["changed"] and (best is None or far < best[0]) and _each_matters(bench, case, trial, drawn, out):
                best = far, {**row, "drawn": drawn}
            if (best is not None and best[0] == 0) or percent == before:
                break
            before = percent
            strength *= 0.35 if percent > high else 2.5
        if best is not None and best[0] == 0:
            break
    if best is None:
        raise Refused(f"no {trial.type} fault changed anything in {draws} draws. {why}")
    row = best[1]
    _seed(bench, case, trial, row["drawn"], out)  # the nearest one, which later draws have overwritten
    return {**row, "draws": draws, "as_asked": best[0] == 0}


def _seed(bench: Bench, case: Case, trial: Trial, drawn: Row, out: Path) -> Row:
    right, worker = bench.right(case, trial.format), bench.workers[trial.format]
    wanted = [(type_, drawn["strength"]) for type_ in (trial.type, *drawn["others"])]
    preprocess, seeded = case.preprocess, []
    if drawn["deployed"]:
        preprocess, fault = deployed_otherwise(case.preprocess, drawn)
        seeded.append(fault)
        wanted = wanted[1:]
    if wanted:
        seeded += worker.call("inject", str(right), str(out), wanted, drawn["seed"])
    else:
        shutil.copy(right, out)
    percent, changed = bench.measure(case, trial.format, out, preprocess)
    other = None if preprocess == case.preprocess else preprocess.to_json()
    return {"seeded": seeded, "percent": round(percent, 2), "changed": changed, "target_preprocess": other}


def _each_matters(bench: Bench, case: Case, trial: Trial, drawn: Row, out: Path) -> bool:
    """Do several faults at once each change the outputs that those before them leave? Then none undoes another."""
    worker, before = bench.workers[trial.format], None
    wanted = [(type_, drawn["strength"]) for type_ in (trial.type, *drawn["others"])][drawn["deployed"] :]
    if len(drawn["others"]) == 0:
        return True
    partial = out.with_name(f"partial{SUFFIX[trial.format]}")
    for count in range(len(wanted) + 1):
        try:
            worker.call("inject", str(bench.right(case, trial.format)), str(partial), wanted[:count], drawn["seed"])
            outputs = worker.call("run", str(partial), case.batch(case.preprocess))[1]
        except Refused:
            return False
        if before is not None and not difference(before, outputs)[1]:
            return False
        before = outputs
    return True


def deployed_otherwise(right: Preprocess, drawn: Row) -> tuple[Preprocess, Row]:
    """Another preparation than the Source's, as deployments have it by mistake."""
    random, strength = np.random.default_rng(drawn["seed"]), drawn["strength"]
    mean, std = np.asarray(right.mean), np.asarray(right.std)
    square = {"resize": "stretch", "crop": "none", "resize_ratio": None, "resize_size": None, "crop_size": None}
    other = {
        "channels swapped": {"channel_order": "bgr" if right.channel_order == "rgb" else "rgb"},
        "scale": {"scale": right.scale * (1 + strength)},
        "mean": {"mean": tuple((mean + strength * std).tolist())},
        "std": {"std": tuple((std * (1 + strength)).tolist())},
        "interpolation": {"interpolation": "nearest" if right.interpolation != "nearest" else "bilinear"},
    }
    if right.resize == "shorter":
        other["stretched"] = square
        if isinstance(right.resize_size, int):
            other["resize"] = {"resize_size": max(round(right.resize_size * (1 + strength)), right.resize_size + 1)}
    name = sorted(other)[int(random.integers(len(other)))]
    changed: Mapping[str, Any] = other[name]
    detail = ", ".join(f"{key} {getattr(right, key)} to {value}" for key, value in changed.items())
    fault = {"type": "PP", "node": "preprocess", "kind": f"deployment: {name}", "detail": detail, "also": []}
    return replace(right, name="deployed", **changed), fault


# --- repair, as a person runs it


def repair(bench: Bench, case: Case, trial: Trial, row: Row, target: Path) -> Row:
    fixed = target.with_name(f"fixed{SUFFIX[trial.format]}")
    command = [
        sys.executable, "-m", "safeconvert", "repair", str(case.source), str(target), *case.arguments,
        "--images", str(case.images), "--preprocess", str(case.preprocess_file), "-o", str(fixed), "--force", "--json",
    ]  # fmt: skip
    if row["target_preprocess"] is not None:
        file = target.with_name("target-preprocess.json")
        file.write_text(json.dumps(row["target_preprocess"]), encoding="utf-8")
        command += ["--target-preprocess", str(file)]
    begun, limit = time.monotonic(), bench.args.repair_seconds
    try:
        ran = subprocess.run(command, capture_output=True, text=True, cwd=target.parent, timeout=limit, check=False)
        code, out, err = ran.returncode, ran.stdout, ran.stderr
    except subprocess.TimeoutExpired:
        code, out, err = -1, "", f"stopped after {limit:g} s"
    facts: Row = {"exit_code": code, "seconds": round(time.monotonic() - begun, 1)}
    try:
        report = json.loads(out)
    except ValueError:
        last = (err.strip().splitlines() or ["no message"])[-1]
        return {**facts, "verdict": "no report", "message": last[-500:], "reported": [], "false_faults": 0}
    return {**facts, **judged(row["seeded"], report)}


def judged(seeded: Sequence[Row], report: Row) -> Row:
    """What the report says, held against what was seeded."""
    reported = [
        {"type": f["type"], "node": f.get("target_node") or f.get("source_node") or "", "status": f["status"]}
        for f in report.get("faults") or []
    ]
    first = reported[0] if reported else None
    is_found = [any(_same(fault, other) for other in reported) for fault in seeded]
    localisation = report.get("localisation") or {}
    ranking = [r.get("target_node") or "" for r in localisation.get("ranking") or []]
    after = ((report.get("check") or {}).get("after") or {}).get("heldout") or {}
    return {
        "verdict": report["verdict"],
        "message": "; ".join(report.get("reasons") or [])[-500:],
        "reported": reported,
        "node_first": first is not None and any(_same(fault, first) for fault in seeded),
        "type_first": first is not None and first["type"] in [f["type"] for f in seeded],
        "found": sum(is_found),
        "rank": next((i for i, name in enumerate(ranking, 1) if any(named(name, f) for f in seeded)), None),
        "false_faults": sum(not any(_same(fault, other) for fault in seeded) for other in reported),
        "heldout_percent_after": after.get("percent"),
        "model_runs": localisation.get("model_runs"),
    }


def _same(fault: Row, reported: Row) -> bool:
    """Is this the place of that fault? A preparation by the deployment has none: its type says it."""
    if fault["node"] == "preprocess":
        return bool(reported["type"] == "PP")
    return named(reported["node"], fault)


def named(reported: str, fault: Row) -> bool:
    """Is one of the fault's names the reported one, a component of it as of a path, or an operation of the reported
    layer (``model/conv2d`` for ``model/conv2d/convolution``)?"""
    shown = _plain(reported)
    for name in map(_plain, (fault["node"], *fault["also"])):
        layer = name.rpartition("/")[0]
        if name and (shown == name or ("/" in layer and shown == layer)):
            return True
        if len(name) > 3 and re.search(rf"(^|[/;:.,\s]){re.escape(name)}($|[/;:.,\s])", shown):
            return True
    return False


def _plain(name: str) -> str:
    """Without what exporters add: an output's number, a copy's number behind a path, a prefix."""
    name = re.sub(r":\d+$", "", name)
    return re.sub(r"(?<=[/;])([^/;]+)__\d+$", r"\1", name).removeprefix("node_").removeprefix("/")


# --- the run


def trials(args: argparse.Namespace) -> Iterator[Trial]:
    for index in range(args.count):
        for model in args.models:
            for format in args.formats:
                for type_ in args.types:
                    for at_once in args.at_once:
                        for size in args.sizes:
                            yield Trial(model, format, type_, at_once, size, index)


def run_trial(bench: Bench, trial: Trial) -> Row:
    row: Row = {"key": trial.key, "seed": bench.args.seed, "rows": bench.args.rows, **vars(trial)}
    folder = bench.args.work / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = folder / f"target{SUFFIX[trial.format]}"
    try:
        case = bench.case(trial.model)
        bench.right(case, trial.format)
        row |= seed_faults(bench, case, trial, target)
    except (Refused, NotBuilt) as error:
        return {**row, "verdict": "not seeded", "message": str(error)[:500]}
    (folder / f"partial{SUFFIX[trial.format]}").unlink(missing_ok=True)
    if not bench.args.seed_only:
        row |= repair(bench, case, trial, row, target)
    if bench.args.kruskal:
        from benchmarks.kruskal_ranking import rank_in_trial

        row |= rank_in_trial(bench, case, trial.format, row, target)
    return row


def main() -> int:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    done = _read(args.json) if args.json else {}
    bench, rows, begun = Bench(args), [], time.monotonic()
    try:
        for trial in trials(args):
            row = done.get((trial.key, args.seed, args.rows))
            if row is None:
                if args.limit_seconds and time.monotonic() - begun > args.limit_seconds:
                    print("--limit-seconds is over; run again to go on", file=sys.stderr)
                    break
                row = run_trial(bench, trial)
                if args.json:
                    with args.json.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                print(_line(row), file=sys.stderr, flush=True)
            rows.append(row)
    finally:
        bench.stop()
    show(rows)
    return 0


def _line(row: Row) -> str:
    what = "; ".join(f"{f['type']} {f['kind']} at {f['node']}" for f in row.get("seeded", []))
    return f"{row['key']}: {row.get('verdict', 'seeded')}, {row.get('percent', '-')} %: {what or row.get('message')}"


def _read(path: Path) -> dict[tuple[str, int, int], Row]:
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {(row["key"], row["seed"], row["rows"]): row for row in rows}


HEADS = (
    "type", "format", "trials", "not seeded", "as asked", "node first", "type first", "all found", "repaired",
    "false faults", "held-out after", "model runs", "seconds", "Kruskal rank 1", "Kruskal repaired", "Kruskal seconds",
)  # fmt: skip


def show(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADS, box=None, pad_edge=False)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        for key in ((row["type"], row["format"]), (row["type"], "all"), ("all", "all")):
            groups.setdefault(key, []).append(row)
    for key in sorted(groups, key=lambda k: ([*TYPES, "all"].index(k[0]), [*FORMATS, "all"].index(k[1]))):
        table.add_row(*key, *_cells(groups[key]))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(table, markup=False)
    for row in rows:
        if reason := miss(row):
            console.print(f"{row['key']}: {reason}", markup=False, soft_wrap=True)


def _cells(rows: Sequence[Row]) -> tuple[str, ...]:
    seeded = [row for row in rows if row.get("verdict") != "not seeded"]
    asked = [row for row in seeded if "exit_code" in row]
    after = [row["heldout_percent_after"] for row in asked if row.get("heldout_percent_after") is not None]
    runs = [row["model_runs"] for row in asked if row.get("model_runs") is not None]
    ranked = [row for row in seeded if "kruskal_rank" in row]
    return (
        str(len(seeded)),
        str(len(rows) - len(seeded)),
        _share([row["as_asked"] for row in seeded]),
        _share([bool(row.get("node_first")) for row in asked]),
        _share([bool(row.get("type_first")) for row in asked]),
        _share([row.get("found") == len(row["seeded"]) for row in asked]),
        _share([row["exit_code"] == 0 for row in asked]),
        str(sum(row["false_faults"] for row in asked)),
        f"{sum(after) / len(after):.1f} %" if after else "-",
        f"{median(runs):g}" if runs else "-",
        f"{median(row['seconds'] for row in asked):.0f}" if asked else "-",
        _share([row["kruskal_rank"] == 1 for row in ranked]),
        _share([row["kruskal_percent_after"] == 0 for row in ranked]),
        f"{median(row['kruskal_seconds'] for row in ranked):.0f}" if ranked else "-",
    )


def _share(flags: Sequence[bool]) -> str:
    return f"{sum(flags)}/{len(flags)}" if flags else "-"


def miss(row: Row) -> str:
    """Why a trial is no full success; "" where it is one."""
    what = "; ".join(f"{f['type']} {f['kind']} at {f['node']} ({f['detail']})" for f in row.get("seeded", []))
    if row.get("verdict") == "not seeded":
        return f"not seeded: {row['message']}"
    if "exit_code" not in row:
        return ""
    said = ", ".join(f"{f['type']} at {f['node']} {f['status']}" for f in row["reported"]) or "no fault"
    wrong = []
    if row["exit_code"] != 0:
        wrong.append(f"{row['verdict']} (exit {row['exit_code']}: {row.get('message', '')})")
    elif row["verdict"] == "verified" and row["changed"]:
        wrong.append("verified although the outputs differ")
    for key, name in (("node_first", "another place named first"), ("type_first", "another type named first")):
        if not row.get(key):
            wrong.append(name)
    if row["false_faults"]:
        wrong.append(f"{row['false_faults']} false faults")
    return f"{', '.join(wrong)}. Seeded {what}; reported {said}" if wrong else ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def several(known: Sequence[str]) -> Any:
        def parse(value: str) -> list[str]:
            words = value.split(",")
            if unknown := [name for name in words if name not in known]:
                raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(known)}")
            return words

        return parse

    parser.add_argument("--models", type=several([*NETWORKS, *small_nets.SMALL]), metavar="A,B")
    parser.add_argument("--small", action="store_true", help="three small seeded networks instead of real models")
    parser.add_argument("--data", type=Path, help="folder with models and photos; not needed with --small")
    parser.add_argument("--work", type=Path, default=Path("seeded-faults"), help="folder for all that is made")
    parser.add_argument("--formats", type=several(FORMATS), default=list(FORMATS), metavar="A,B")
    parser.add_argument("--types", type=several(TYPES), default=list(TYPES), metavar="A,B")
    parser.add_argument("--count", type=int, default=1, help="trials per model, format, type, number and size")
    parser.add_argument("--at-once", type=lambda v: [int(n) for n in v.split(",")], default=[1], metavar="1,3")
    parser.add_argument("--sizes", type=several(list(SIZES)), default=["middling"], metavar="A,B")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=40, help="photos; half of them calibration")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="one line a trial; what stands there is not run again"
    )
    parser.add_argument("--limit-seconds", type=float, help="begin no trial after so long")
    parser.add_argument("--repair-seconds", type=float, default=900.0, help="stop one repair after so long")
    parser.add_argument("--draw-seconds", type=float, default=90.0, help="then take the nearest fault drawn")
    parser.add_argument("--seed-only", action="store_true", help="seed and measure, do not repair")
    parser.add_argument("--kruskal", action="store_true", help="also the paper's own localisation and weight repair")
    args = parser.parse_args()
    if not args.small and args.data is None:
        parser.error("--data is needed without --small")
    if args.rows < 4:
        parser.error("--rows must be at least 4: calibration and held-out photos")
    known = list(small_nets.SMALL) if args.small else list(NETWORKS)
    args.models = args.models or known
    if wrong := [name for name in args.models if name not in known]:
        parser.error(f"{wrong[0]} is not one of {', '.join(known)}" + (" (with --small)" if args.small else ""))
    args.work = args.work.resolve()
    args.data = args.data and args.data.resolve()
    return args


if __name__ == "__main__":
    sys.exit(main())
