"""Every mistake in the arguments that can be told without a framework, all of them at once and before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BadInput, collecting, refuse
from ..formats import Format, ModelFile, format_named
from ..inputs.arrays import check_stored
from ..inputs.images import SUFFIXES, ImageInputs
from ..inputs.presets import load_preprocess
from ..inputs.true_labels import read_labels
from ..live.arrays import check_live
from ..live.model_file import require_model
from ..live.output_folder import default_output
from ..live.transforms import preprocess_of_object
from ..models.detect import detect
from ..models.loader import guard
from ..options import Options
from ..reporting.output_files import check_output

OF_THE_FILE = ("model_fn", "input_shape", "inputs", "trust_pickle")
"""The options that a model's file may need."""
LIVE = ("inputs", "preprocess", "target_preprocess")
"""The options that may be objects of Python code instead of paths and names."""


def check_conversion(
    source: Any, to: str, keywords: Mapping[str, Any], output: Path | None, expected: Format | None = None
) -> None:
    """Raise :class:`BadInput` with all that is wrong with the arguments of ``convert``."""

    def check_whole(models: Sequence[ModelFile], options: Options) -> None:
        from . import argument_checks

        argument_checks.check_convert(models[0], to, options, output or default_output(models[0], format_named(to)))

    check_early((source,), keywords, expected, output=output, check_whole=check_whole)


def check_comparison(source: Any, target: Any, keywords: Mapping[str, Any], output: Path | None) -> None:
    """Raise :class:`BadInput` with all that is wrong with the arguments of ``check``."""

    def check_whole(models: Sequence[ModelFile], options: Options) -> None:
        from . import argument_checks

        argument_checks.check_check(models, options, output)

    check_early((source, target), keywords, check_whole=check_whole)


def check_given_target(source: Any, target: Any, keywords: Mapping[str, Any], output: Path | None) -> None:
    """Raise :class:`BadInput` with all that is wrong with the arguments of ``repair``."""

    def check_whole(models: Sequence[ModelFile], options: Options) -> None:
        from . import argument_checks

        if output is not None:
            argument_checks.check_repair(models, options, output)

    check_early((source, target), keywords, output=output, check_whole=check_whole)


def check_early(
    models: Sequence[Any],
    keywords: Mapping[str, Any],
    expected: Format | None = None,
    *,
    output: Path | None = None,
    check_whole: Callable[[Sequence[ModelFile], Options], None] | None = None,
) -> None:
    """Raise :class:`BadInput` with all that is wrong with the models and options; what is live is left to later.

    ``expected`` is the format that the first model must have. ``check_whole`` says whether models and options go
    together; it is called with those options that are valid, and only where every model is a file that was recognised.
    ``output`` is looked at where it is not called.
    """
    paths = {name: value for name, value in keywords.items() if _is_plain(name, value)}
    mistakes: list[str] = []
    with collecting(mistakes):
        Options.of({name: value for name, value in keywords.items() if name in paths or name not in LIVE})
    options_of_files = _of_the_file(keywords, paths)
    files: list[ModelFile] = []
    for index, model in enumerate(models):
        with collecting(mistakes):
            require_model(model)
        if isinstance(model, str | Path):
            with collecting(mistakes):
                files.append(detect(Path(model), expected if index == 0 else None))
                guard(files[-1], options_of_files)
    for name in CHECKS:
        if isinstance(paths.get(name), str | Path):
            with collecting(mistakes):
                CHECKS[name](paths[name])
        elif keywords.get(name) is not None and name in LIVE_CHECKS:
            with collecting(mistakes):
                LIVE_CHECKS[name](keywords[name])
    with collecting(mistakes):
        if check_whole is not None and len(files) == len(models):
            check_whole(files, _valid_options(keywords))
        elif output is not None:
            check_output(output, force=bool(keywords.get("force")))
    refuse(list(dict.fromkeys(mistakes)))


def _valid_options(keywords: Mapping[str, Any]) -> Options:
    """Return the options that are valid; an object of Python code among them stands as a path that nobody reads."""
    chosen = {name: value if _is_plain(name, value) else "live" for name, value in keywords.items()}
    try:
        return Options.of(chosen)
    except BadInput:
        return Options.of(_without_mistakes(chosen))


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


def path_of(output: object) -> Path | None:
    """Return an output as a path. Raises :class:`BadInput` for what is none."""
    if output is not None and not isinstance(output, str | Path):
        raise BadInput(f"output={output!r} is not a path.")
    return None if output is None else Path(output)


def _check_images(images: Any) -> None:
    paths, skipped = ImageInputs.scan(Path(images))
    if not paths and not skipped:
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise BadInput(f"--images: the folder {images} has no images ({kinds}). Give a folder that has some.")


def _check_inputs(inputs: Any) -> None:
    if not Path(inputs).exists():
        raise BadInput(f"no file {inputs}; --inputs takes an .npz file of arrays by input name.")
    check_stored(Path(inputs))


def _check_labels(labels: Any) -> None:
    read_labels(Path(labels))


CHECKS: Mapping[str, Callable[[Any], object]] = {
    "images": _check_images,
    "inputs": _check_inputs,
    "labels": _check_labels,
    "preprocess": load_preprocess,
    "target_preprocess": load_preprocess,
}
LIVE_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "inputs": check_live,
    "preprocess": preprocess_of_object,
    "target_preprocess": preprocess_of_object,
}
