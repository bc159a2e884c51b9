"""The public functions: :func:`convert`, :func:`check` and :func:`repair`, which the command line calls.

A model is a path or what Python code holds: a ``torch.nn.Module``, an ``ExportedProgram``, a TorchScript module, a
Keras model, a ``tf.Module`` or ``tf.function``, an ``onnx.ModelProto``, or the bytes of a TFLite file. It is handed to
worker processes as a file; the caller's process needs no framework but the one that the model is of.

The options are the command line's. Besides what that takes, ``inputs`` is an array, a tensor, a dict or tuple of these,
a ``DataLoader`` or a tf.data set; ``preprocess`` is a dict, a torchvision transform, timm's ``pretrained_cfg`` or the
contents of Hugging Face's ``preprocessor_config.json``; ``input_shape`` is the sizes alone for a model with one input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from .comparison.comparators import Judging
from .errors import BadInput
from .formats import FORMAT_NAMES, format_named
from .live.model_file import is_path
from .live.output_folder import default_output, new_folder
from .live.preparation import Preparation
from .options import Observer, Options, Silent
from .reporting import output_files
from .runs import argument_checks
from .runs.check import CheckRun
from .runs.convert import ConvertRun
from .runs.early_checks import check_comparison, check_conversion, check_given_target, path_of
from .runs.repair import RepairRun
from .runs.result import Result
from .workers.pool import WorkerPool

Layout = Literal["keep", "nchw", "nhwc"]
Quantization = Literal["none", "float16", "weights", "dynamic", "int8", "int16x8"]
Quantizer = Literal["auto", "litert-quantizer", "tflite-converter"]
IoType = Literal["float32", "int8", "uint8"]
Engine = Literal["onnxruntime", "tvm"]
Ranking = Literal["replay", "kruskal"]


def convert(
    source: Any,
    to: str,
    *,
    output: str | Path | None = None,
    observer: Observer | None = None,
    images: str | Path | None = None,
    inputs: Any = None,
    labels: str | Path | None = None,
    preprocess: Any = None,
    target_preprocess: Any = None,
    embed_preprocessing: bool = False,
    input_shape: Mapping[str, Sequence[int]] | Sequence[int] | None = None,
    batch_axis: Mapping[str, int | None] | None = None,
    input_layout: Layout = "keep",
    model_fn: str | None = None,
    trust_pickle: bool = False,
    signature: str | None = None,
    quantize: Quantization = "none",
    quantizer: Quantizer = "auto",
    io_type: IoType = "float32",
    opset: int | None = None,
    holdout: float = 0.5,
    max_discrepancy: float | None = None,
    comparator: str | Judging = "top1",
    output_kind: Mapping[str, str] | None = None,
    class_axis: Mapping[str, int] | None = None,
    max_error: Mapping[str, float] | None = None,
    own_inputs_only: bool = False,
    atol: float | None = None,
    rtol: float | None = None,
    seed: int = 0,
    timeout: float = 600.0,
    engine: Engine = "onnxruntime",
    ranking: Ranking = "replay",
    core_layers: Sequence[str] | None = None,
    max_size: float | None = None,
    max_latency_ratio: float | None = None,
    no_repair: bool = False,
    repair_time: float = 300.0,
    auto_env: bool = False,
    force: bool = False,
) -> Result:
    """Convert a model to the format ``to`` and hand it over only where it agrees with its Source.

    ``source`` is a path or a live model; ``to`` is one of ``torch``, ``keras``, ``tf``, ``tflite``, ``onnx``. The
    Target is written at ``output`` if it is verified, and the report beside it. Without ``output`` that is beside the
    Source, or for a live Source in a temporary folder that lasts as long as the process; ``Result.model`` is the Target
    itself.
    Raises :class:`BadInput` where the input or an option cannot be used.
    """
    keywords = _option_keywords(locals())
    if to not in FORMAT_NAMES:
        raise BadInput(f"{to!r} is no format. Known: {', '.join(FORMAT_NAMES)}.")
    check_conversion(source, to, keywords, path_of(output))
    with WorkerPool() as workers:
        prepared = Preparation(workers, (source,), keywords)
        (file,), options = prepared.files, prepared.options
        final = Path(output) if output is not None else default_output(file, format_named(to))
        argument_checks.check_convert(file, to, options, final)
        with output_files.sole_writer(final):
            return ConvertRun(workers, file, options, observer or Silent()).run(to, final)


def check(
    source: Any,
    target: Any,
    *,
    output: str | Path | None = None,
    observer: Observer | None = None,
    images: str | Path | None = None,
    inputs: Any = None,
    labels: str | Path | None = None,
    preprocess: Any = None,
    target_preprocess: Any = None,
    input_shape: Mapping[str, Sequence[int]] | Sequence[int] | None = None,
    batch_axis: Mapping[str, int | None] | None = None,
    model_fn: str | None = None,
    trust_pickle: bool = False,
    signature: str | None = None,
    holdout: float = 0.5,
    max_discrepancy: float | None = None,
    comparator: str | Judging = "top1",
    output_kind: Mapping[str, str] | None = None,
    class_axis: Mapping[str, int] | None = None,
    max_error: Mapping[str, float] | None = None,
    own_inputs_only: bool = False,
    atol: float | None = None,
    rtol: float | None = None,
    seed: int = 0,
    engine: Engine = "onnxruntime",
) -> Result:
    """Compare two models, paths or live ones, on the same inputs; nothing is converted or changed.

    ``output``: where to put ``<output>.report.json`` and ``.html``; without it no file is written.
    Raises :class:`BadInput` where the input or an option cannot be used.
    """
    keywords = _option_keywords(locals())
    check_comparison(source, target, keywords, path_of(output))
    with WorkerPool() as workers:
        prepared = Preparation(workers, (source, target), keywords)
        report = None if output is None else Path(output)
        argument_checks.check_check(prepared.files, prepared.options, report)
        run = CheckRun(workers, prepared.files[0], prepared.options, observer or Silent())
        return run.run(prepared.files[1], report)


def repair(
    source: Any,
    target: Any,
    *,
    output: str | Path | None = None,
    observer: Observer | None = None,
    images: str | Path | None = None,
    inputs: Any = None,
    labels: str | Path | None = None,
    preprocess: Any = None,
    target_preprocess: Any = None,
    embed_preprocessing: bool = False,
    input_shape: Mapping[str, Sequence[int]] | Sequence[int] | None = None,
    batch_axis: Mapping[str, int | None] | None = None,
    model_fn: str | None = None,
    trust_pickle: bool = False,
    signature: str | None = None,
    holdout: float = 0.5,
    max_discrepancy: float | None = None,
    comparator: str | Judging = "top1",
    output_kind: Mapping[str, str] | None = None,
    class_axis: Mapping[str, int] | None = None,
    max_error: Mapping[str, float] | None = None,
    own_inputs_only: bool = False,
    atol: float | None = None,
    rtol: float | None = None,
    seed: int = 0,
    timeout: float = 600.0,
    engine: Engine = "onnxruntime",
    ranking: Ranking = "replay",
    core_layers: Sequence[str] | None = None,
    max_size: float | None = None,
    no_repair: bool = False,
    repair_time: float = 300.0,
    auto_env: bool = False,
    force: bool = False,
) -> Result:
    """Find what is wrong with a Target that came from anywhere, repair it, and write it at ``output``.

    Source and Target are paths or live models. The Target keeps its format. It is written only where it then agrees
    with the Source; a Target that agrees already is copied. The report stands beside ``output``, which only a live
    Target can go without: it is written in a temporary folder then, and ``Result.model`` is the repaired Target itself.
    Raises :class:`BadInput` where the input or an option cannot be used.
    """
    keywords = _option_keywords(locals())
    if output is None and is_path(target):
        raise BadInput("output is missing: say where the repaired Target goes.")
    check_given_target(source, target, keywords, path_of(output))
    with WorkerPool() as workers:
        prepared = Preparation(workers, (source, target), keywords)
        models, options = prepared.files, prepared.options
        final = Path(output) if output is not None else new_folder() / models[1].path.name
        argument_checks.check_repair(models, options, final)
        with output_files.sole_writer(final):
            return RepairRun(workers, models[0], options, observer or Silent()).run(models[1], final)


def _option_keywords(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a function's parameters that are fields of :class:`Options`; what is None keeps its default."""
    names = Options.__dataclass_fields__
    return {name: value for name, value in parameters.items() if name in names and value is not None}


__all__ = ["Observer", "Options", "Result", "Silent", "check", "convert", "repair"]
