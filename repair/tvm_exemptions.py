"""The search for a Target's faults with TVM beside onnxruntime (``--engine tvm``).

The walk goes along what TVM gave for the Source's view. What differs in the Target as the two runtimes differ is
refused and not told as a fault. Without the option, or where TVM fails, the walk is what it always is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checking.tvm_check import RuntimeComparison, ask
from ..errors import WorkerFailed
from ..options import Options
from ..records import Refusal
from ..workers.pool import WorkerPool
from ..workers.runtime import TVM
from ..workers.runtime_functions import TVM_ACTIVATIONS
from .alignment.runtime_difference import RuntimeDifference
from .localization.finding import FaultSummary
from .located_target import LocatedTarget
from .remote_functions import WRITE_CANONICAL

Array = np.ndarray[Any, Any]
MAX_FAULTS_RUN_IN_TVM = 12  # located faults whose nodes are run alone in TVM; any further fault stands


@dataclass
class TvmExemptions:
    """Use ``before`` the walk, and ``after`` it. ``opinions`` are of both views, ``refused`` is the runtimes' own."""

    workers: WorkerPool
    options: Options
    opinions: list[RuntimeComparison] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    engine: str = "onnxruntime"  # the one whose activations the walk went along

    def before(
        self, source: Path, arrays: Mapping[str, Array], target: Path, target_arrays: Mapping[str, Array]
    ) -> tuple[Path, Path | None]:
        """Run both views in TVM; return the Source's view to walk along, and the file of TVM's activations of it.

        ``arrays`` are the Source view's inputs, ``target_arrays`` the Target view's. Without ``--engine tvm``, or where
        TVM cannot compute every tensor of the Source's view, the view is unchanged and there is no such file.
        """
        if self.options.engine != "tvm":
            return source, None
        same = self.workers.scratch("source.onnx")  # the graph that the walk goes along, in its canonical form
        worker = self.workers.worker("onnx_tflite", "onnx_tflite")
        WRITE_CANONICAL(worker, None, path=str(source), target=str(same))
        source_comparison = self._ask("source view", source, same, arrays, keep=True)
        self._ask("target view", target, target, target_arrays)
        if source_comparison.activations is None:
            return source, None
        self.engine = source_comparison.engine
        return same, source_comparison.activations

    def after(self, located: LocatedTarget) -> str:
        """Dismiss the located faults that are differences between the runtimes; these are in ``refused`` then.

        Returns why the search for faults ended early, or why none is left; "" for neither.
        """
        for difference in located.result.runtime_differences:
            self.refused.append(_refusal("CG", difference))
        if self.engine == "onnxruntime":
            return located.result.stop_reason
        candidates = enumerate(located.faults[:MAX_FAULTS_RUN_IN_TVM])
        dismissed = [index for index, fault in candidates if self._is_exempt(located, index, fault)]
        if dismissed:
            located.dismiss(dismissed)
        if self.refused and not located.faults:
            return f"what differs is how two runtimes compute the same: {self.refused[0].reason}"
        return located.result.stop_reason

    def _is_exempt(self, located: LocatedTarget, index: int, fault: FaultSummary) -> bool:
        """Tell whether the Target's nodes, run alone in TVM, give what the Source gives; then they are refused."""
        path, store = self.workers.scratch("segment.onnx"), self.workers.scratch("segment.npz")
        try:
            segment = located.write_segment(index, path)
            if segment is None:
                return False
            worker, timeout = self.workers.worker(TVM.worker, TVM.worker), self.options.timeout
            ran = TVM_ACTIVATIONS(worker, timeout, path=str(path), arrays=dict(segment.arrays), store=str(store))
            key = {record.tensor: record.key for record in ran.records}.get(segment.tensor)
            if key is None:
                return False
            with np.load(store) as stored:
                difference = located.exempt(index, path, segment.arrays, stored[key])
        except WorkerFailed:
            return False  # without TVM's result the fault stands
        if difference is None:
            return False
        self.refused.append(_refusal(fault.type, difference))
        return True

    def _ask(
        self, model: str, path: Path, file: Path, arrays: Mapping[str, Array], keep: bool = False
    ) -> RuntimeComparison:
        options = self.options
        opinion = ask(self.workers, model, file, arrays, options.tolerance, options.timeout, keep=keep)
        self.opinions.append(replace(opinion, path=path))
        return opinion


def _refusal(kind: str, difference: RuntimeDifference) -> Refusal:
    return Refusal(
        kind,
        difference.target_node,
        f"the runtime's difference, not the converter's: {difference.operator} gives "
        f"{difference.values.onnxruntime} in onnxruntime and {difference.values.tvm} in TVM for the same inputs",
    )
