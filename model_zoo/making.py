"""Make a network in a format, once: what the cache folder holds already is not made again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from model_zoo.photos import choose, link, numbered
from model_zoo.recipes import IMAGES, Converted, Network, Recipe, Scripted, Stored

SUFFIX = {"torch": ".pt2", "keras": ".keras", "tf": "_savedmodel", "tflite": ".tflite", "onnx": ".onnx"}
PHOTOS = 40  # that a derived model is verified on before it is used

# A torchvision without its compiled part cannot be imported before its two operators are declared.
WITH_TORCHVISION = """
import runpy, sys, torch
try:
    import torchvision
except (ImportError, RuntimeError):
    for name in [n for n in sys.modules if n.startswith("torchvision")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class NotBuilt(Exception):
    """A model could not be made; the message says by which command and why."""


@dataclass(frozen=True)
class Built:
    """A model that stands on the disk; ``arguments`` are what safeconvert's command line needs to read it."""

    path: Path
    arguments: tuple[str, ...]
    origin: str


def build(network: Network, format: str, data: Path, cache: Path, images: Path | None = None) -> Built:
    """The network in this format (or variant), made now or earlier. Raises :class:`NotBuilt` where it cannot be.

    ``data``: a folder with ``models``, ``images/dev`` and ``make_resnet101.py``. ``cache``: a folder for what is
    made; use another one for other data or photos. ``images``: a folder of photos (see :func:`model_zoo.photos.find`)
    in the place of ``images/dev``.
    """
    recipe = network.recipes.get(format) or network.variants[format]
    match recipe.way:
        case Stored(path):
            path_of_model = data / path
        case Scripted(real=real):
            path_of_model = data / real if (data / real).exists() else cache / f"{network.name}.pth"
        case Converted():
            path_of_model = cache / f"{network.name}{SUFFIX[format]}"
    if not path_of_model.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _make(network, format, recipe, data, cache, images, path_of_model)
    return Built(path_of_model, recipe.arguments, recipe.origin)


def preprocess_file(network: Network, cache: Path) -> Path:
    """The network's preprocessing as a JSON file, for ``--preprocess``."""
    path = cache / f"{network.preprocess.name}.json"
    cache.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(network.preprocess.to_json(), indent=1) + "\n", encoding="utf-8")
    return path


def _make(
    network: Network, format: str, recipe: Recipe, data: Path, cache: Path, images: Path | None, path_of_model: Path
) -> None:
    what = f"{network.name} in {format}"
    match recipe.way:
        case Stored(path):
            raise NotBuilt(f"{what} needs {path} in the data folder {data}")
        case Scripted(script, photos):
            partial = path_of_model.with_name(f".{path_of_model.name}.{os.getpid()}")
            fitted = data / IMAGES
            if images is not None:
                fitted = numbered(choose(network, data, photos, images), cache / "fitted")
            arguments = ["--images", str(fitted), "--n", str(photos), "--threads", str(os.cpu_count() or 1)]
            _run([sys.executable, "-c", WITH_TORCHVISION, str(data / script), *arguments, "--out", str(partial)], what)
            partial.replace(path_of_model)
        case Converted(source):
            origin = build(network, source, data, cache, images)
            chosen = link(choose(network, data, PHOTOS, images), cache / f"photos-{network.name}")
            arguments = [
                *origin.arguments,
                "--images",
                str(chosen),
                "--preprocess",
                str(preprocess_file(network, cache)),
            ]
            pair = f"{source}2{format}"
            command = [
                sys.executable,
                "-m",
                "safeconvert",
                pair,
                str(origin.path),
                *arguments,
                "-o",
                str(path_of_model),
            ]
            _run(command, what)  # exit code 0 says verified, and only then does the file stand there


def _run(command: list[str], what: str) -> None:
    print(f"making {what}", file=sys.stderr, flush=True)
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        shown = " ".join(word if "\n" not in word else "'...'" for word in command)
        raise NotBuilt(f"{what}: exit code {ran.returncode} from\n{shown}\n{(ran.stdout + ran.stderr)[-2000:]}")
