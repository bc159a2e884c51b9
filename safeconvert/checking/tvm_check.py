"""A second engine for ONNX models: Apache TVM beside onnxruntime (``--engine tvm``).

The same few inputs go through both. Where a node's own output differs, the difference is the runtimes' and nothing
that a converter did. TVM may fail in any way: the run goes on without it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..comparison.tolerance import Tolerance
from ..errors import NotInstalled, WorkerFailed
from ..models.input_mapping import Mismatch, apply_mapping, map_inputs
from ..models.loaded_model import LoadedModel, shorten
from ..models.loader import Shapes
from ..records import Refusal
from ..repair.alignment.runtime_difference import RuntimeDifferences
from ..repair.remote_functions import COMPARE_RUNTIMES
from ..workers.pool import WorkerPool
from ..workers.runtime import TVM
from ..workers.runtime_functions import TVM_ACTIVATIONS
from .evaluation_set import EvaluationSet

Array = np.ndarray[Any, Any]
FEW = 3  # inputs that both runtimes are asked about
LATER = 5  # nodes behind the first that are counted in words, at most


@dataclass(frozen=True)
class Difference:
    """A node whose own output differs between the runtimes on the same inputs.

    ``onnxruntime`` and ``tvm`` are the two values where they lie furthest apart, ``call`` is TVM's function, and
    ``max_abs`` is None where shapes differ.
    """

    node: str
    operator: str
    tensor: str
    call: str
    max_abs: float | None
    onnxruntime: str
    tvm: str

    @property
    def words(self) -> str:
        call = f"TVM's {self.call}" if self.call else "TVM"
        values = f"{self.operator} {self.node}: onnxruntime gives {self.onnxruntime}"
        return f"{values}, {call} {self.tvm} for the same inputs"

    def refusal(self, target_node: str) -> Refusal:
        """Return the refusal of a Target's node that differs as the two runtimes do, and is no fault."""
        return Refusal(
            "CG",
            target_node,
            f"the runtime's difference, not the converter's: {self.operator} gives {self.onnxruntime} in onnxruntime "
            f"and {self.tvm} in TVM for the same inputs",
        )


@dataclass(frozen=True)
class RuntimeComparison:
    """What a second engine says of one ONNX model: an entry of the report's ``engines``.

    ``model`` says which (``source``, ``target``, or the view of one), ``path`` is its file. ``agrees`` is None where
    nothing could be compared; ``message`` says why. ``compared`` tensors, outputs and layers, were held against each
    other; ``max_abs`` is over the outputs. ``activations`` is the file of what the engine computed, where it gave all
    tensors.
    """

    model: str
    path: Path
    agrees: bool | None
    message: str
    engine: str = "tvm"
    compared: int = 0
    max_abs: float | None = None
    differences: tuple[Difference, ...] = ()
    activations: Path | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def first(self) -> Difference | None:
        return self.differences[0] if self.differences else None

    @property
    def words(self) -> str:
        return f"the {self.model} in {self.engine} and in onnxruntime: {self.message}"

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "engine": self.engine,
            "agrees": self.agrees,
            "max_abs": self.max_abs,
            "first_differing_node": None if self.first is None else self.first.node,
            "message": self.message,
        }


def require(engine: str) -> None:
    """Raises :class:`NotInstalled` where the engine's package is not there."""
    if engine == "tvm" and importlib.util.find_spec("tvm") is None:
        advice = f"pip install 'safeconvert[{TVM.extra}]'"
        raise NotInstalled(f"--engine tvm needs apache-tvm, which is not installed.\n{advice}")


def ask(
    workers: WorkerPool,
    model: str,
    path: Path,
    arrays: Mapping[str, Array],
    tolerance: Tolerance,
    timeout: float,
    *,
    keep: bool = False,
) -> RuntimeComparison:
    """Run an ONNX file in TVM and in onnxruntime on ``arrays`` (input name -> array, batch first) and compare.

    Outputs must agree within the tolerance of the verdict, and no node's own output may differ. ``keep`` leaves TVM's
    activations in ``RuntimeComparison.activations``. ``timeout`` in seconds is for each of the two. Nothing is raised:
    where an engine cannot run the model, ``agrees`` is None.
    """
    store, activations = workers.scratch("tvm.npz"), workers.scratch("activations.npz")
    inputs = {name: np.asarray(array) for name, array in arrays.items()}
    who = "TVM"
    try:
        worker = workers.worker("tvm", "tvm")
        ran = TVM_ACTIVATIONS(worker, timeout, path=str(path), arrays=inputs, store=str(store))
        who = "onnxruntime"
        compared = COMPARE_RUNTIMES(
            workers.worker("onnx_tflite", "onnx_tflite"),
            timeout,
            path=str(path),
            arrays=inputs,
            store=str(store),
            records=ran.records,
            atol=tolerance.atol,
            rtol=tolerance.rtol,
            keep=str(activations) if keep else None,
        )
    except WorkerFailed as error:
        return RuntimeComparison(
            model, path, None, f"{who} cannot run it: {shorten(str(error).removeprefix('CannotRun: '))}"
        )
    finally:
        store.unlink(missing_ok=True)
    differences = tuple(
        Difference(each.node, each.operator, each.tensor, each.call, **dataclasses.asdict(each.values))
        for each in compared.nodes
    )
    agrees: bool | None = not (differences or compared.differing_outputs or compared.absent_outputs)
    if not compared.compared_tensors:
        agrees = None
    return RuntimeComparison(
        model,
        path,
        agrees,
        _message(compared, differences, ran.why),
        compared=compared.compared_tensors,
        max_abs=compared.max_abs,
        differences=differences,
        activations=activations if keep and not ran.missing else None,
        seconds={"compile": ran.compile_seconds, "run": ran.run_seconds},
    )


def _message(compared: RuntimeDifferences, differences: tuple[Difference, ...], why: str) -> str:
    outputs = [*compared.differing_outputs, *compared.absent_outputs]
    if not compared.compared_tensors:
        return f"nothing could be compared{': ' + shorten(why) if why else ''}"
    partly = f" (layers not compared: {shorten(why, 160)})" if why else ""
    if differences:
        more = len({difference.node for difference in differences}) - 1
        others = f", and {more if more <= LATER else f'more than {LATER}'} other nodes differ" if more else ""
        reach = f"outputs differ too: {', '.join(outputs)}" if outputs else "the outputs agree all the same"
        return f"{differences[0].words}{others}; {reach}. This is the runtime's difference, not the converter's{partly}"
    if outputs:
        return f"outputs differ ({', '.join(outputs)}), though no node does on the same inputs{partly}"
    return f"all {compared.compared_tensors} tensors agree{partly}"


def of_files(
    workers: WorkerPool,
    evaluation_set: EvaluationSet,
    target: LoadedModel | None,
    shapes: Shapes,
    known: Sequence[RuntimeComparison] = (),
) -> tuple[RuntimeComparison, ...]:
    """With ``--engine tvm``, what TVM says of Source and Target where they are ONNX files, on a few calibration inputs.

    ``known`` are opinions that there are already: a file that one of them is about is not looked at again.
    """
    options, source = evaluation_set.options, evaluation_set.source
    if options.engine != "tvm":
        return ()
    comparisons = list(known)
    for model, model_of_file in (("source", source), ("target", target)):
        if (
            model_of_file is None
            or not model_of_file.format.is_view
            or any(str(known_comparison.path) == model_of_file.location for known_comparison in comparisons)
        ):
            continue
        mapping = map_inputs(source.signature, shapes, model_of_file.signature)
        rows = evaluation_set.rows[0][:FEW]
        if isinstance(mapping, Mismatch) or not rows:
            reason = mapping.reason if isinstance(mapping, Mismatch) else "there are no calibration inputs"
            comparisons.append(RuntimeComparison(model, model_of_file.path, None, f"not asked: {reason}"))
            continue
        arrays = apply_mapping(mapping, evaluation_set.inputs.read(rows))
        path, fixed = Path(model_of_file.location), fixed_batch(model_of_file)
        opinion = ask(workers, model, path, _filled(arrays, fixed), options.tolerance, options.timeout)
        if opinion.agrees is None and fixed is None and len(rows) > 1:  # files fix the batch inside the graph too
            opinion = ask(workers, model, path, _filled(arrays, 1), options.tolerance, options.timeout)
        comparisons.append(opinion)
    return tuple(comparisons)


def fixed_batch(model: LoadedModel) -> int | None:
    """The batch that a model's signature fixes, if it does."""
    return next((spec.shape[0] for spec in model.signature.inputs if spec.shape and spec.shape[0]), None)


def _filled(arrays: Mapping[str, Array], size: int | None) -> dict[str, Array]:
    """The first ``size`` rows, the last one repeated where there are fewer; all of them for None."""
    if size is None:
        return dict(arrays)
    return {name: np.take(array, np.minimum(np.arange(size), len(array) - 1), axis=0) for name, array in arrays.items()}
