"""The public functions: :func:`convert`, :func:`check` and :func:`repair`, which the command line calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .checking import tvm_check
from .errors import BadInput
from .formats import FORMAT_NAMES, TF, TFLITE, Format, ModelFile, format_named
from .models.detect import detect
from .options import Observer, Options, Silent
from .reporting import output_files
from .runs.base import Result
from .runs.check import CheckRun
from .runs.convert import ConvertRun
from .runs.repair import RepairRun
from .workers.pool import WorkerPool


def convert(
    source: str | Path, to: str, *, output: str | Path | None = None, observer: Observer | None = None, **options: Any
) -> Result:
    """Convert a model to the format ``to`` and hand it over only where it agrees with its Source.

    ``to`` is one of ``torch``, ``keras``, ``tf``, ``tflite``, ``onnx``. ``options`` are the fields of :class:`Options`.
    Writes the Target at ``output`` (default: beside the Source) if it is verified, and the report beside it.
    Raises :class:`BadInput` where the input or an option cannot be used.
    """
    chosen = Options.of(options)
    tvm_check.require(chosen.engine)
    if to not in FORMAT_NAMES:
        raise BadInput(f"{to!r} is no format. Known: {', '.join(FORMAT_NAMES)}.")
    target = format_named(to)
    file = detect(Path(source))
    if chosen.embed_preprocessing and (chosen.quantize != "none" or chosen.input_layout != "keep"):
        other = "--quantize" if chosen.quantize != "none" else "--input-layout"
        raise BadInput(f"--embed-preprocessing does not go with {other}. Leave one of them out.")
    if target == file.format:
        raise BadInput(f"{source} is a {to} model already. There is nothing to convert.")
    if chosen.max_size is not None and (target != TFLITE or chosen.quantize not in ("dynamic", "float16")):
        raise BadInput("--max-size is for weights rounded by --quantize dynamic or float16. Give one of these too.")
    if chosen.quantize != "none" and target != TFLITE:
        raise BadInput(f"--quantize {chosen.quantize} is for TFLite Targets; the Target here is {to}.")
    if chosen.signature is not None and file.format != TF:
        raise BadInput(f"--signature is for SavedModels; {source} is a {file.format} model.")
    if chosen.quantize == "int8" and chosen.images is None and chosen.inputs is None:
        raise BadInput("--quantize int8 is calibrated on real inputs. Pass --images or --inputs.")
    final = Path(output) if output is not None else default_output(file, target)
    if final.resolve() == file.path.resolve():
        raise BadInput(f"--output {final} is the Source itself. Choose another path with -o.")
    output_files.check_output(final, force=chosen.force)
    with output_files.sole_writer(final), WorkerPool() as workers:
        return ConvertRun(workers, file, chosen, observer or Silent()).run(to, final)


def check(
    source: str | Path,
    target: str | Path,
    *,
    output: str | Path | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> Result:
    """Compare two models on the same inputs; nothing is converted or changed.

    ``output``: where to put ``<output>.report.json`` and ``.html``; without it no file is written.
    Raises :class:`BadInput` where the input or an option cannot be used.
    """
    chosen = Options.of(options)
    tvm_check.require(chosen.engine)
    if chosen.embed_preprocessing:
        raise BadInput("--embed-preprocessing changes the Target, and check changes nothing. Use repair.")
    models = detect(Path(source)), detect(Path(target))
    report = None if output is None else Path(output)
    if report is not None:
        output_files.refuse_special_file(report)
        output_files.check_output(report.with_name(report.name + ".report.json"), force=True)
    if chosen.signature is not None and all(model.format != TF for model in models):
        raise BadInput("--signature is for SavedModels; neither of these is one.")
    with WorkerPool() as workers:
        return CheckRun(workers, models[0], chosen, observer or Silent()).run(models[1], report)


def repair(
    source: str | Path,
    target: str | Path,
    *,
    output: str | Path,
    observer: Observer | None = None,
    **options: Any,
) -> Result:
    """Find what is wrong with a Target that came from anywhere, repair it, and write it at ``output``.

    It keeps its format. It is written only where it then agrees with the Source; a Target that agrees already is
    copied. The report stands beside ``output``. Raises :class:`BadInput` where the input or an option cannot be used.
    """
    chosen = Options.of(options)
    tvm_check.require(chosen.engine)
    models = detect(Path(source)), detect(Path(target))
    if chosen.max_size is not None and models[1].format != TFLITE:
        raise BadInput(f"--max-size is for TFLite Targets; {target} is a {models[1].format} model.")
    final = Path(output)
    for model in models:
        if final.resolve() == model.path.resolve():
            raise BadInput(f"--output {final} is the model {model.path} itself. Choose another path with -o.")
    if chosen.signature is not None and all(model.format != TF for model in models):
        raise BadInput("--signature is for SavedModels; neither of these is one.")
    output_files.check_output(final, force=chosen.force)
    with output_files.sole_writer(final), WorkerPool() as workers:
        return RepairRun(workers, models[0], chosen, observer or Silent()).run(models[1], final)


def default_output(source: ModelFile, target: Format) -> Path:
    """Beside the Source: ``model.pt`` -> ``model.keras``; a SavedModel folder is ``model_savedmodel``."""
    stem = source.path.name if source.format.is_folder else source.path.stem
    return source.path.parent / f"{stem}{target.suffix or '_savedmodel'}"


__all__ = ["Observer", "Options", "Result", "Silent", "check", "convert", "repair"]
