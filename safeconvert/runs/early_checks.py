"""Every mistake in the arguments that can be told without a framework, all of them at once and before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BadInput, collecting, refuse
from ..formats import Format
from ..inputs.images import SUFFIXES, ImageInputs
from ..inputs.presets import load_preprocess
from ..inputs.true_labels import read_labels
from ..models.detect import detect
from ..models.loader import guard
from ..options import Options

OF_THE_FILE = ("model_fn", "input_shape", "inputs", "trust_pickle")
"""The options that a model's file may need."""
LIVE = ("inputs", "preprocess", "target_preprocess")
"""The options that may be objects of Python code instead of paths and names."""


def check_early(models: Sequence[Any], keywords: Mapping[str, Any], expected: Format | None = None) -> None:
    """Raise :class:`BadInput` with all that is wrong with the models and options; what is live is left to later.

    ``expected`` is the format that the first model must have.
    """
    paths = {name: value for name, value in keywords.items() if _is_plain(name, value)}
    mistakes: list[str] = []
    with collecting(mistakes):
        Options.of({name: value for name, value in keywords.items() if name in paths or name not in LIVE})
    options_of_files = _of_the_file(keywords, paths)
    for index, model in enumerate(models):
        if isinstance(model, str | Path):
            with collecting(mistakes):
                guard(detect(Path(model), expected if index == 0 else None), options_of_files)
    for name in CHECKS:
        if paths.get(name) is not None:
            with collecting(mistakes):
                CHECKS[name](paths[name])
    refuse(mistakes)


def _is_plain(name: str, value: Any) -> bool:
    return name not in LIVE or isinstance(value, str | Path)


def _of_the_file(keywords: Mapping[str, Any], paths: Mapping[str, Any]) -> Options:
    """The options that a file may need. What Python code holds may tell a shape: any stands for it here."""
    chosen = {name: paths[name] for name in OF_THE_FILE if name in paths}
    if any(keywords.get(name) is not None and name not in paths for name in ("inputs", "preprocess")):
        chosen.setdefault("input_shape", (1,))
    try:
        return Options.of(chosen)
    except BadInput:  # its own mistake is told already; that an option is missing would be a second one
        return Options.of(_without_mistakes(chosen))


def _without_mistakes(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The options that can be used, and a stand-in for a wrong name of a function."""
    valid: dict[str, Any] = {}
    for name, value in chosen.items():
        try:
            Options.of({**valid, name: value})
        except BadInput:
            if name != "model_fn":
                continue
            value = "module:function"
        valid[name] = value
    return valid


def _check_images(images: Any) -> None:
    paths, skipped = ImageInputs.scan(Path(images))
    if not paths and not skipped:
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise BadInput(f"--images: the folder {images} has no images ({kinds}). Give a folder that has some.")


def _check_inputs(inputs: Any) -> None:
    if not Path(inputs).exists():
        raise BadInput(f"no file {inputs}; --inputs takes an .npz file of arrays by input name.")


def _check_labels(labels: Any) -> None:
    read_labels(Path(labels))


CHECKS = {
    "images": _check_images,
    "inputs": _check_inputs,
    "labels": _check_labels,
    "preprocess": load_preprocess,
    "target_preprocess": load_preprocess,
}
