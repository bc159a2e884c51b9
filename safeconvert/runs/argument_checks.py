"""What the arguments of a run must be, told before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..checking import tvm_check
from ..errors import BadInput
from ..formats import TF, TFLITE, ModelFile, format_named
from ..options import Options
from ..reporting import output_files


def check_convert(file: ModelFile, to: str, options: Options, final: Path) -> None:
    """Raise :class:`BadInput` where this model cannot be converted to the format ``to`` with these options."""
    tvm_check.require(options.engine)
    target = format_named(to)
    if options.embed_preprocessing and (options.quantize != "none" or options.input_layout != "keep"):
        other = "--quantize" if options.quantize != "none" else "--input-layout"
        raise BadInput(f"--embed-preprocessing does not go with {other}. Leave one of them out.")
    if target == file.format:
        raise BadInput(f"{file.path} is a {to} model already. There is nothing to convert.")
    if options.max_size is not None and (target != TFLITE or options.quantize not in ("dynamic", "float16")):
        raise BadInput("--max-size is for weights rounded by --quantize dynamic or float16. Give one of these too.")
    if options.quantize != "none" and target != TFLITE:
        raise BadInput(f"--quantize {options.quantize} is for TFLite Targets; the Target here is {to}.")
    if options.signature is not None and file.format != TF:
        raise BadInput(f"--signature is for SavedModels; {file.path} is a {file.format} model.")
    if options.quantize == "int8" and options.images is None and options.inputs is None:
        raise BadInput("--quantize int8 is calibrated on real inputs. Pass --images or --inputs.")
    if final.resolve() == file.path.resolve():
        raise BadInput(f"--output {final} is the Source itself. Choose another path with -o.")
    output_files.check_output(final, force=options.force)


def check_check(models: Sequence[ModelFile], options: Options, report: Path | None) -> None:
    """Raise :class:`BadInput` where Source and Target cannot be compared with these options."""
    tvm_check.require(options.engine)
    if report is not None:
        output_files.refuse_special_file(report)
        output_files.check_output(report.with_name(report.name + ".report.json"), force=True)
    if options.signature is not None and all(model.format != TF for model in models):
        raise BadInput("--signature is for SavedModels; neither of these is one.")


def check_repair(models: Sequence[ModelFile], options: Options, final: Path) -> None:
    """Raise :class:`BadInput` where this Target cannot be repaired with these options."""
    tvm_check.require(options.engine)
    if options.max_size is not None and models[1].format != TFLITE:
        raise BadInput(f"--max-size is for TFLite Targets; {models[1].path} is a {models[1].format} model.")
    for model in models:
        if final.resolve() == model.path.resolve():
            raise BadInput(f"--output {final} is the model {model.path} itself. Choose another path with -o.")
    if options.signature is not None and all(model.format != TF for model in models):
        raise BadInput("--signature is for SavedModels; neither of these is one.")
    output_files.check_output(final, force=options.force)
