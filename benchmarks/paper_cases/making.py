"""Makes a case: its Source, the right Target by a real conversion, the wrong one from it. What was made is kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.paper_cases.cases import INCEPTION, RESNET, Case
from model_zoo import NETWORKS, Converted, Network, build, choose, link
from model_zoo.making import SUFFIX
from safeconvert.inputs.preprocess import Preprocess

ROOT = Path(__file__).resolve().parents[2]
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}


class NotMade(Exception):
    """A model of a case could not be made; the message says by what and why."""


@dataclass(frozen=True)
class Place:
    """Where things come from and go to. ``images``: a folder of photos in the place of the data folder's."""

    data: Path
    work: Path
    photos: int
    images: Path | None = None

    @property
    def zoo(self) -> Path:
        return self.work / "zoo"


@dataclass(frozen=True)
class Made:
    """A case ready to be repaired; ``seeded`` is what is wrong (see ``benchmarks.faults.seeding.Seeded``)."""

    source: Path
    arguments: tuple[str, ...]
    target: Path
    seeded: tuple[dict[str, Any], ...]
    origin: str


def make(case: Case, place: Place) -> Made:
    """Raises :class:`NotMade` or :class:`model_zoo.NotBuilt` where a real conversion does not verify."""
    network = NETWORKS[case.model]
    path, arguments, preprocess, origin = _source(case, network, place)
    file = place.zoo / f"{case.number:02}-preprocess.json"
    file.write_text(json.dumps(preprocess.to_json(), indent=1) + "\n", encoding="utf-8")
    images = link(choose(network, place.data, place.photos, place.images), place.work / f"photos-{case.model}")
    case_arguments = (*arguments, "--images", str(images), "--preprocess", str(file))
    target, seeded = _wrong(case, _right(case, network, place, path, case_arguments), place)
    if case.deployed is not None:
        case_arguments = (*case_arguments, "--target-preprocess", case.deployed)
        detail = f"{preprocess.name} replaced by {case.deployed}"
        seeded = [{"type": "PP", "node": "preprocess", "kind": "deployment", "detail": detail, "also": []}, *seeded]
    return Made(path, case_arguments, target, tuple(seeded), origin)


def _source(case: Case, network: Network, place: Place) -> tuple[Path, tuple[str, ...], Preprocess, str]:
    built = build(network, case.source, place.data, place.zoo, place.images)
    if (case.model, case.source) != (INCEPTION, "torch"):
        origin = built.origin
        if case.model == RESNET and network.fitted_in(place.data) is None:
            origin = f"{origin} (here: real weights)"
        return built.path, built.arguments, network.preprocess, origin
    path = place.zoo / "inception_v3_transform_input.pt2"
    if not path.exists():
        _child("prepared_inception", [str(built.path)], path)
    torchs = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    preprocess = replace(network.preprocess, name="inception_v3_torch", **torchs)
    return path, (), preprocess, f"{built.origin}; torchvision's transform_input in front"


def _right(case: Case, network: Network, place: Place, source: Path, case_arguments: tuple[str, ...]) -> Path:
    """What the real converters make of the Source: verified, unless the weights are TFLiteConverter's own."""
    way = network.recipes[case.target].way
    zoo = isinstance(way, Converted) and way.format == case.source and not source.name.endswith("transform_input.pt2")
    if zoo and not case.weights:
        return build(network, case.target, place.data, place.zoo, place.images).path
    path = place.work / "right" / f"{case.number:02}{SUFFIX[case.target]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return path
    print(f"making the right Target of case {case.number}", file=sys.stderr, flush=True)
    if case.weights:
        _child("tflite_converter", [str(source)], path)
    else:
        command = [sys.executable, "-m", "safeconvert", f"{case.source}2{case.target}", str(source), *case_arguments]
        _run([*command, "-o", str(path), "-q"])
    return path


def _wrong(case: Case, right: Path, place: Place) -> tuple[Path, list[dict[str, Any]]]:
    """The Target with its faults in it, and which they are; the right one itself where nothing is wrong inside."""
    if case.target not in ("keras", "tflite") or not (case.faults or case.weights):
        return right, []
    path = place.work / "wrong" / f"{case.number:02}{SUFFIX[case.target]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.json")
    if not (path.exists() and beside.exists()):
        module = "in_keras_model" if case.target == "keras" else "in_tflite_model"
        said = _child(module, [str(right)], path, json.dumps(case.faults))
        beside.write_text(said.strip().splitlines()[-1] + "\n", encoding="utf-8")
    return path, json.loads(beside.read_text(encoding="utf-8"))


def _child(module: str, before: list[str], out: Path, *after: str) -> str:
    """Run one of this package's files in a process of its own; ``out`` is there only once it is whole."""
    partial = out.with_name(f"partial-{os.getpid()}-{out.name}")
    try:
        said = _run([sys.executable, "-m", f"benchmarks.paper_cases.{module}", *before, str(partial), *after])
        partial.replace(out)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)
    return said


def _run(command: list[str]) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **QUIET}, check=False)
    if ran.returncode:
        raise NotMade(f"exit code {ran.returncode} from {' '.join(command)}\n{(ran.stdout + ran.stderr)[-1500:]}")
    return ran.stdout
