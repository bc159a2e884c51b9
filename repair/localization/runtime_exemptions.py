"""Tell whether a located fault is only a difference between runtimes: run the Target's nodes alone in another runtime.

Worker side. The nodes are run on the Source's activations, which the session of ``locate`` holds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ..alignment.matching import Array
from ..alignment.runtime_difference import RuntimeDifference
from ..alignment.runtime_differences import largest_difference
from ..graph.runner import alone
from ..graph.runner import session as runtime_session
from . import locate
from .finding import Segment
from .session import session_of


def write_canonical(path: str, target: str) -> None:
    """Write the view in the form in which ``locate`` compares it, so that another runtime runs the same graph."""
    onnx.save(locate.canonical(path), target)


def write_segment(session_id: str, index: int, path: str) -> Segment | None:
    """Write the Target's nodes of a fault to ``path`` as a model of their own; None where they do not run alone."""
    session = session_of(session_id)
    fault, walk = session.faults[index], session.walk
    names = set(fault.evidence.get("target_nodes", ()))
    tensor = fault.evidence.get("target_tensor")
    if walk is None or not names or tensor not in walk.aligned:
        return None
    nodes = [node for node in walk.target.nodes if node.name in names]
    computed = {name for node in nodes for name in node.output}
    read = {name for node in nodes for name in walk.target.dynamic(node)} - computed
    if tensor not in computed or not read.issubset(walk.values):
        return None
    arrays = {name: walk.values[name] for name in sorted(read)}
    onnx.save(alone(nodes, walk.target.model, arrays, walk.target.constants, [tensor]), path)
    return Segment(arrays, str(tensor))


def exempt(
    session_id: str, index: int, path: str, arrays: Mapping[str, Array], tvm_output: Array
) -> RuntimeDifference | None:
    """Tell whether TVM computes, for the nodes of this fault, what the Source computes, where onnxruntime does not.

    ``tvm_output`` is TVM's result for the segment at ``path`` (see ``write_segment``) on ``arrays``. If so, the
    runtimes differ and not the models, and the difference is returned. None where the fault stands, which it also does
    where ONNX's reference implementation computes what onnxruntime computes: two of three say that the Target is wrong.
    """
    session = session_of(session_id)
    assert session.walk is not None
    fault, contents = session.faults[index], session.walk.contents
    tensor = str(fault.evidence["target_tensor"])
    match = session.walk.aligned[tensor][0]
    expected = match.arrangement.of(contents.tensors[match.name])
    if not contents.difference(expected, tvm_output) <= contents.limit:
        return None
    model = onnx.load(path)
    output = runtime_session(model).run([tensor], dict(arrays))[0]
    reference = _reference(model, dict(arrays))
    if reference is not None and contents.difference(output, reference) <= contents.limit:
        return None
    values = largest_difference(np.asarray(output), tvm_output)
    return RuntimeDifference(fault.target_node, fault.source_node, fault.op_type, values)


def _reference(model: onnx.ModelProto, arrays: dict[str, Array]) -> Array | None:
    """Run the segment in ONNX's reference implementation; None where that does not run these nodes."""
    try:
        return np.asarray(ReferenceEvaluator(model).run(None, arrays)[0])
    except Exception:  # noqa: BLE001 - whatever it raises, it has no say
        return None
