"""What the arguments of a run must be, told before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..checking import tvm_check
from ..errors import BadInput
from ..formats import TF, TFLITE, ModelFile, format_named
from ..options import Options
from ..quantization.engine import CONVERTER_KINDS, quantizes_float_target, require
from ..reporting import output_files
from ..runtimes.litert.quantization_plan import STATIC_KINDS


def check_convert(file: ModelFile, to: str, options: Options, final: Path) -> None:
    """Raise :class:`BadInput` where this model cannot be converted to the format ``to`` with these options."""
    tvm_check.require(options.engine)
    target = format_named(to)
    if options.embed_preprocessing and (options.quantize != "none" or options.input_layout != "keep"):
        other = "--quantize" if options.quantize != "none" else "--input-layout"
        raise BadInput(f"--embed-preprocessing does not go with {other}. Leave one of them out.")
    if target == file.format:
        raise BadInput(f"{file.path} is a {to} model already. There is nothing to convert.")
    if options.quantize != "none" and target != TFLITE:
        raise BadInput(f"--quantize {options.quantize} is for TFLite Targets; the Target here is {to}.")
    _check_quantization(options)
    if options.signature is not None and file.format != TF:
        raise BadInput(f"--signature is for SavedModels; {file.path} is a {file.format} model.")
    if options.quantize in STATIC_KINDS and options.images is None and options.inputs is None:
        raise BadInput(f"--quantize {options.quantize} is calibrated on real inputs. Pass --images or --inputs.")
    if final.resolve() == file.path.resolve():
        raise BadInput(f"--output {final} is the Source itself. Choose another path with -o.")
    output_files.check_output(final, force=options.force)


def _check_quantization(options: Options) -> None:
    """Raise :class:`BadInput` where the options of quantisation do not go together, or their engine is missing."""
    if options.quantize == "none":
        for name, value in (("--max-size", options.max_size), ("--max-latency-ratio", options.max_latency_ratio)):
            if value is not None:
                raise BadInput(f"{name} is a budget of quantised TFLite Targets. Give --quantize too.")
        if options.io_type != "float32":
            raise BadInput(f"--io-type {options.io_type} is for --quantize int8. Give it too.")
        return
    if options.io_type != "float32" and options.quantize != "int8":
        raise BadInput(
            f"--io-type {options.io_type} is for --quantize int8; --quantize {options.quantize} has float32 inputs."
        )
    if options.quantizer == "litert-quantizer":
        require("--quantizer litert-quantizer")
    if quantizes_float_target(options.quantize, options.quantizer):
        return
    needed = [
        name
        for name, is_asked in (
            (f"--quantize {options.quantize}", options.quantize not in CONVERTER_KINDS),
            (f"--io-type {options.io_type}", options.io_type != "float32"),
            ("--max-latency-ratio", options.max_latency_ratio is not None),
            ("--max-size with --quantize int8", options.max_size is not None and options.quantize == "int8"),
        )
        if is_asked
    ]
    for name in needed:
        if options.quantizer == "tflite-converter":
            raise BadInput(f"{name} is not something that --quantizer tflite-converter can do. Leave one of them out.")
        require(name)


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
