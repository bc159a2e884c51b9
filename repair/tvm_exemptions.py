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

Array = np.ndarray[Any, Any]
EXCUSED = 12  # findings whose nodes are run alone in TVM; what more there is stands as found


@dataclass
class TvmExemptions:
    """Use ``before`` the walk, and ``after`` it. ``opinions`` are of both views, ``refused`` is the runtimes' own."""

    workers: WorkerPool
    options: Options
    opinions: list[RuntimeComparison] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    engine: str = "onnxruntime"  # the one whose activations the walk went along

    def before(
        self, source: Path, arrays: Mapping[str, Array], target: Path, given: Mapping[str, Array]
    ) -> dict[str, Any]:
        """What ``repair.locating.locate`` is to be called with: the Source's view and TVM's activations of it.

        ``arrays`` are the Source view's inputs, ``given`` the Target view's. Nothing changes without ``--engine tvm``,
        nor where TVM cannot give every tensor of the Source's view.
        """
        if self.options.engine != "tvm":
            return {"source": str(source)}
        same = self.workers.scratch("source.onnx")  # the graph that the walk goes along, in its own words
        self._light("canonical", path=str(source), target=str(same))
        theirs = self._ask("source view", source, same, arrays, keep=True)
        self._ask("target view", target, target, given)
        if theirs.kept is None:
            return {"source": str(source)}
        self.engine = theirs.engine
        return {"source": str(same), "activations": str(theirs.kept)}

    def after(self, found: dict[str, Any]) -> dict[str, Any]:
        """What ``locate`` found without what is the runtimes' own; that stands in ``refused`` with both values."""
        for one in found.get("excused", ()):
            self.refused.append(_refusal("CG", one["target_node"], one))
        if self.engine == "onnxruntime":
            return found
        dismissed = [index for index, one in enumerate(found["faults"][:EXCUSED]) if self._excused(index, one)]
        if dismissed:
            self.workers.worker("onnx_tflite", "onnx_tflite").call(
                "repair.localization.session", "dismiss", indices=dismissed
            )
        faults = [one for index, one in enumerate(found["faults"]) if index not in dismissed]
        why = found["why"]
        if self.refused and not faults:
            why = f"what differs is how two runtimes compute the same: {self.refused[0].reason}"
        return {**found, "faults": faults, "why": why}

    def _excused(self, index: int, one: Mapping[str, Any]) -> bool:
        """Do the Target's nodes, alone in TVM, give what the Source gives? Then they are refused."""
        path, store = self.workers.scratch("segment.onnx"), self.workers.scratch("segment.npz")
        try:
            taken = self._light("segment", index=index, path=str(path))
            if taken is None:
                return False
            arrays = taken["arrays"]
            ran = self.workers.worker("tvm", "tvm").call(
                "runtimes.tvm.model",
                "activations",
                timeout=self.options.timeout,
                path=str(path),
                arrays=arrays,
                store=str(store),
            )
            key = {record["tensor"]: record["key"] for record in ran["records"]}.get(taken["tensor"])
            if key is None:
                return False
            with np.load(store) as stored:
                values = self._light("excuse", index=index, path=str(path), arrays=arrays, theirs=stored[key])
        except WorkerFailed:
            return False  # TVM has no say in it
        if values is None:
            return False
        self.refused.append(_refusal(one["type"], one["target_node"], {"operator": one["op_type"], **values}))
        return True

    def _ask(
        self, model: str, path: Path, file: Path, arrays: Mapping[str, Array], keep: bool = False
    ) -> RuntimeComparison:
        options = self.options
        opinion = ask(self.workers, model, file, arrays, options.tolerance, options.timeout, keep=keep)
        self.opinions.append(replace(opinion, path=path))
        return opinion

    def _light(self, function: str, **arguments: Any) -> Any:
        return self.workers.worker("onnx_tflite", "onnx_tflite").call(
            "repair.localization.runtime_exemptions", function, **arguments
        )


def _refusal(kind: str, node: str, one: Mapping[str, Any]) -> Refusal:
    return Refusal(
        kind,
        node,
        f"the runtime's difference, not the converter's: {one['operator']} gives {one['onnxruntime']} in onnxruntime "
        f"and {one['tvm']} in TVM for the same inputs",
    )
