"""The options of the command line, one value each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..records import OPSETS, OUTPUT_KINDS, QUANTIZATIONS
from .parameter_types import Axis, Named, Names, PathOrKind, Shape


def options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of those names, in the order of ``OPTIONS``."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed([n for n in OPTIONS if not names or n in names]):
            function = OPTIONS[name](function)
        return function

    return add


def output(help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``-o/--output``, which also says what an output is: ``--output NAME:KIND``."""
    return click.option(
        "-o",
        "--output",
        type=PathOrKind(),
        multiple=True,
        help=f"{help} Or NAME:KIND, as --output-kind; write ./NAME:KIND for a file of such a name.",
    )


def take_output(chosen: dict[str, Any], *, is_required: bool = False) -> Path | None:
    """The one path of ``-o/--output``; what was said of outputs goes into ``output_kind``. Raises UsageError."""
    values = chosen.pop("output") or ()
    paths = [value for value in values if isinstance(value, Path)]
    chosen["output_kind"] = (
        *(chosen["output_kind"] or ()),
        *(value for value in values if not isinstance(value, Path)),
    )
    if len(paths) > 1:
        raise click.UsageError(f"--output was given {len(paths)} paths: {', '.join(map(str, paths))}. Give one.")
    if is_required and not paths:
        raise click.UsageError("Missing option '-o' / '--output'.")
    return paths[0] if paths else None


OPTIONS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "output": output("Where the Target goes. [default: beside the Source]"),
    "images": click.option(
        "--images",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Photos to compare on: a flat folder, or one folder per class.",
    ),
    "inputs": click.option(
        "--inputs",
        type=click.Path(path_type=Path),
        metavar="FILE.npz|DIR",
        help="Arrays to compare on, by input name, first axis the batch; or a folder with one input a file.",
    ),
    "labels": click.option(
        "--labels",
        type=click.Path(path_type=Path),
        metavar="FILE.csv|FILE.json|DIR",
        help="True class indices by image name, to report the accuracy of Source and Target: CSV, JSON, or a folder "
        "with one folder per class.",
    ),
    "preprocess": click.option(
        "--preprocess", metavar="NAME|FILE.json", help="How the Source's images are prepared. [default: by framework]"
    ),
    "target_preprocess": click.option(
        "--target-preprocess",
        metavar="NAME|FILE.json",
        help="How the deployment prepares the Target's images. [default: as the Source's]",
    ),
    "embed_preprocessing": click.option(
        "--embed-preprocessing",
        is_flag=True,
        help="Build the deployment's preprocessing (--target-preprocess) into the Target.",
    ),
    "input_shape": click.option(
        "--input-shape",
        type=Shape(),
        multiple=True,
        metavar="NAME:1,3,224,224",
        help="Input sizes, where the file leaves them open.",
    ),
    "batch_axis": click.option(
        "--batch-axis",
        type=Axis(),
        multiple=True,
        metavar="NAME:1|none",
        help="Axis of an input that counts the inputs of a batch; none: it has no such axis. [default: the first]",
    ),
    "input_layout": click.option(
        "--input-layout",
        type=click.Choice(["keep", "nchw", "nhwc"]),
        default="keep",
        show_default=True,
        help="Layout of the Target's image input.",
    ),
    "model_fn": click.option(
        "--model-fn", metavar="PKG.MODULE:FUNCTION", help="Function that builds the architecture of a state dict."
    ),
    "trust_pickle": click.option(
        "--trust-pickle", is_flag=True, help="Allow code inside the model file to run: pickled modules, Lambda layers."
    ),
    "signature": click.option(
        "--signature", metavar="NAME", help="Which signature of a SavedModel. [default: serving_default]"
    ),
    "quantize": click.option(
        "--quantize",
        type=click.Choice(["none", *QUANTIZATIONS]),
        default="none",
        show_default=True,
        help="Quantisation of a TFLite Target: half-precision weights; 8-bit weights in float arithmetic; these with "
        "activations rounded at run time; integer arithmetic with activations of 8 or of 16 bits.",
    ),
    "quantizer": click.option(
        "--quantizer",
        type=click.Choice(["auto", "litert-quantizer", "tflite-converter"]),
        default="auto",
        show_default=True,
        help="What quantises: litert-quantizer, on the verified float Target (auto: where it is installed), or "
        "TFLiteConverter while it converts.",
    ),
    "io_type": click.option(
        "--io-type",
        type=click.Choice(["float32", "int8", "uint8"]),
        default="float32",
        show_default=True,
        help="Dtype of the inputs and outputs of a Target with --quantize int8.",
    ),
    "opset": click.option(
        "--opset", type=click.IntRange(OPSETS[0], OPSETS[-1]), help="ONNX opset to write. [default: the exporter's]"
    ),
    "holdout": click.option(
        "--holdout",
        type=float,
        default=0.5,
        show_default=True,
        help="Fraction of inputs that only the final check sees.",
    ),
    "max_discrepancy": click.option(
        "--max-discrepancy",
        type=float,
        metavar="PERCENT",
        help="Share of inputs whose label may differ. [default: 0]",
    ),
    "comparator": click.option(
        "--comparator",
        default="top1",
        show_default=True,
        metavar="topK|logits|MODULE:FUNCTION",
        help="What makes an input differ: its K best classes, its values, or your own function.",
    ),
    "output_kind": click.option(
        "--output-kind",
        type=Named(click.Choice(OUTPUT_KINDS), "KIND"),
        multiple=True,
        metavar="NAME:KIND",
        help=f"What the output NAME is: {', '.join(OUTPUT_KINDS)}. [default: decided from its values and name]",
    ),
    "class_axis": click.option(
        "--class-axis",
        type=Named(click.INT, "AXIS"),
        multiple=True,
        metavar="NAME:1",
        help="Axis of the classes or channels of the output NAME; the batch is axis 0.",
    ),
    "max_error": click.option(
        "--max-error",
        type=Named(click.FLOAT, "PERCENT"),
        multiple=True,
        metavar="NAME:PERCENT",
        help="How far the output NAME of a quantised model may be off: positions of a map, or share of a channel's "
        "range. [default: 5]",
    ),
    "own_inputs_only": click.option(
        "--own-inputs-only", is_flag=True, help="Let a difference on synthetic inputs alone be a note."
    ),
    "atol": click.option(
        "--atol", type=float, help="Absolute tolerance of output values. [default: by the Source's scale]"
    ),
    "rtol": click.option(
        "--rtol", type=float, help="Tolerance relative to the spread of an output's channel. [default: 1e-3]"
    ),
    "seed": click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Seed of the probes and of the split into calibration and held-out inputs.",
    ),
    "timeout": click.option(
        "--timeout",
        type=float,
        default=600.0,
        show_default=True,
        metavar="SECONDS",
        help="Time limit of each converter run.",
    ),
    "no_repair": click.option(
        "--no-repair", is_flag=True, help="Name a converter's faults and leave them; no model is rewritten."
    ),
    "engine": click.option(
        "--engine",
        type=click.Choice(["onnxruntime", "tvm"]),
        default="onnxruntime",
        show_default=True,
        help="Runtime of the ONNX views whose layers are compared; tvm also checks onnxruntime.",
    ),
    "ranking": click.option(
        "--ranking",
        type=click.Choice(["replay", "kruskal"]),
        default="replay",
        show_default=True,
        help="How the report ranks layers: by local difference or by the Kruskal-Wallis test. Faults are found by "
        "replay in both cases.",
    ),
    "core_layers": click.option(
        "--core-layers",
        type=Names(),
        metavar="Conv,Gemm,...",
        help="ONNX operator types that --ranking kruskal ranks. [default: those with weights]",
    ),
    "repair_time": click.option(
        "--repair-time",
        type=float,
        default=300.0,
        show_default=True,
        metavar="SECONDS",
        help="Time limit of the search for faults and repairs; then the best Target so far is taken.",
    ),
    "max_size": click.option(
        "--max-size",
        type=float,
        metavar="MB",
        help="Size limit of a quantised TFLite Target. With --quantizer tflite-converter and in repair: as many of the "
        "rounded weights that change labels become float32 as fit. [default: no limit]",
    ),
    "max_latency_ratio": click.option(
        "--max-latency-ratio",
        type=float,
        metavar="RATIO",
        help="Limit of a quantised Target's latency, as a share of the float Target's in the same run on this machine. "
        "[default: no limit]",
    ),
    "auto_env": click.option(
        "--auto-env",
        is_flag=True,
        help="Install a converter's own environment where a route needs it, as `safeconvert env install` does.",
    ),
    "force": click.option("--force", is_flag=True, help="Replace what stands at --output."),
    "junit": click.option(
        "--junit", type=click.Path(path_type=Path), metavar="FILE", help="Also write the verdict as JUnit XML."
    ),
    "node_data": click.option(
        "--node-data",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Also write the layers' errors as node data for Model Explorer.",
    ),
    "as_json": click.option(
        "--json", "as_json", is_flag=True, help="Print the report as JSON on standard output, and nothing else there."
    ),
    "quiet": click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    "verbose": click.option("-v", "--verbose", is_flag=True, help="Print each step, and tracebacks of errors."),
}

CONVERTING = (
    "output", "embed_preprocessing", "input_layout", "quantize", "quantizer", "io_type", "opset", "timeout",
    "no_repair", "ranking", "core_layers", "repair_time", "max_size", "max_latency_ratio", "auto_env", "force",
    "node_data",
)  # fmt: skip

NOT_IN_MATRIX = (
    "output", "input_layout", "quantize", "quantizer", "io_type", "embed_preprocessing", "max_size",
    "max_latency_ratio", "junit", "node_data",
)  # fmt: skip

BACKEND_OPTIONS = (
    click.option(
        "--backend",
        type=click.Choice(["loky", "dask", "ray"]),
        default="loky",
        show_default=True,
        help="Where conversions run: processes of this machine, a Dask cluster, or a Ray cluster.",
    ),
    click.option("--scheduler", metavar="ADDRESS", help="Address of the Dask scheduler or of the Ray cluster."),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        help="Conversions at a time. [default: half of the cores; on a cluster, all its workers]",
    ),
)
