"""What the arguments of a run must be, told before any work is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..checking import tvm_check
from ..errors import BadInput, collecting, refuse
from ..formats import TF, TFLITE, Format, ModelFile, format_named, format_of_suffix
from ..options import Options
from ..quantization.engine import CONVERTER_KINDS, quantizes_float_target, require
from ..reporting import output_files
from ..runtimes.litert.quantization_plan import STATIC_KINDS


def check_convert(file: ModelFile, to: str, options: Options, final: Path) -> None:
    """Raise :class:`BadInput` with all that keeps this model from being converted to ``to`` with these options."""
    mistakes: list[str] = []
    with collecting(mistakes):
        tvm_check.require(options.engine)
    mistakes += _mistakes_of_pair(file, format_named(to), options)
    with collecting(mistakes):
        _check_quantization(options)
    with collecting(mistakes):
        _check_final((file,), format_named(to), final)
    with collecting(mistakes):
        output_files.check_output(final, force=options.force)
    refuse(mistakes)


def _mistakes_of_pair(file: ModelFile, target: Format, options: Options) -> Iterator[str]:
    """Yield what does not go together: the model, the format of the Target, and options that are for some of these."""
    if options.embed_preprocessing and (options.quantize != "none" or options.input_layout != "keep"):
        other = "--quantize" if options.quantize != "none" else "--input-layout"
        yield f"--embed-preprocessing does not go with {other}. Leave one of them out."
    if target == file.format:
        yield f"{file.path} is a {target} model already. There is nothing to convert."
    if options.quantize != "none" and target != TFLITE:
        yield f"--quantize {options.quantize} is for TFLite Targets; the Target here is {target}."
    if options.signature is not None and file.format != TF:
        yield f"--signature is for SavedModels; {file.path} is a {file.format} model."
    if options.quantize in STATIC_KINDS and options.images is None and options.inputs is None:
        yield f"--quantize {options.quantize} is calibrated on real inputs. Pass --images or --inputs."


def _check_final(models: Sequence[ModelFile], target: Format, final: Path) -> None:
    """Raise :class:`BadInput` where the output is one of the models, or named as a file of another format."""
    for model in models:
        if final.resolve() == model.path.resolve():
            name = "the Source" if len(models) == 1 else f"the model {model.path}"
            raise BadInput(f"--output {final} is {name} itself. Choose another path with -o.")
    named = format_of_suffix(final.suffix)
    if named is not None and named != target:
        usual = f"end it in {target.suffix}" if target.suffix else "give a folder's name"
        raise BadInput(
            f"--output {final} is named like {named.description} model, and the Target is {target.description} one. "
            f"Choose another name: {usual}."
        )


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
    """Raise :class:`BadInput` with all that keeps Source and Target from being compared with these options."""
    mistakes: list[str] = []
    with collecting(mistakes):
        tvm_check.require(options.engine)
    if report is not None:
        with collecting(mistakes):
            output_files.refuse_special_file(report)
            output_files.check_output(report.with_name(report.name + ".report.json"), force=True)
    refuse([*mistakes, *_mistakes_of_signature(models, options)])


def check_repair(models: Sequence[ModelFile], options: Options, final: Path) -> None:
    """Raise :class:`BadInput` with all that keeps this Target from being repaired with these options."""
    mistakes: list[str] = []
    with collecting(mistakes):
        tvm_check.require(options.engine)
    if options.max_size is not None and models[1].format != TFLITE:
        mistakes.append(f"--max-size is for TFLite Targets; {models[1].path} is a {models[1].format} model.")
    with collecting(mistakes):
        _check_final(models, models[1].format, final)
    with collecting(mistakes):
        output_files.check_output(final, force=options.force)
    refuse([*mistakes, *_mistakes_of_signature(models, options)])


def _mistakes_of_signature(models: Sequence[ModelFile], options: Options) -> Iterator[str]:
    if options.signature is not None and all(model.format != TF for model in models):
        yield "--signature is for SavedModels; neither of these is one."
