"""Locate every fault of a Target by walking it on the Source's activations, and hold a repair ready for each.

Worker side: both models are ONNX views. ``locate`` holds the faults and their repairs in a session (``session.py``), by
whose id later calls write a Target with some of them repaired. The parent decides, over all inputs, which are needed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import onnx
from onnx import numpy_helper

from ...runtimes.tensor_layout import TensorLayout
from .. import rewrites
from ..alignment.matching import Contents
from ..alignment.runtime_differences import RuntimeActivations
from ..alignment.walk import Walk
from ..faults import computation_graph, tensor_structure
from ..faults.operators import WEIGHTED
from ..faults.proposal import Array
from ..faults.source_nodes import build
from ..graph.edits import Edit, Rewire
from ..graph.runner import GraphRunner, computing_nodes
from .explanation import UNRELATED, explain, located_fault
from .finding import LocateResult
from .session import LocalizationSession, LocatedFault, hold, make_room

MAX_FAULTS = 400  # located in one Target
MIN_FAULTS_OF_UNRELATED = 4  # that are located before a Target is taken for another model


def locate(
    source: str,
    target: str,
    arrays: Mapping[str, Array],
    target_inputs: Mapping[str, Array],
    order: Sequence[str],
    *,
    is_unquantized: bool = True,
    seconds: float = 300.0,
    activations: str | None = None,
) -> LocateResult:
    """Locate the Target's faults on these few inputs, and hold them in a session of this worker.

    ``arrays`` are the Source view's inputs; ``target_inputs`` hold the same content in the Target view's own shapes and
    layouts (batch first, by the view's input names). ``order`` lists the Source's outputs in the order in which the
    Target should give them. ``is_unquantized`` is False for quantised models. The search ends after ``seconds``.
    ``activations`` is the file of the Source's tensors as another runtime computed them (``RuntimeActivations``);
    without one, onnxruntime runs the Source.
    """
    make_room()
    deadline = time.monotonic() + seconds
    source_model, target_model = canonical(source), canonical(target)
    source_runner, target_runner = GraphRunner(source_model), GraphRunner(target_model)
    contents: Contents
    if activations is None:
        contents = Contents(source_runner.everything(arrays), is_unquantized=is_unquantized)
    else:
        contents = RuntimeActivations(activations, is_unquantized=is_unquantized)
    walk = Walk(target_runner, source_runner, contents, target_inputs, order)
    faults, stop_reason = _walk_to_the_end(walk, deadline)
    if not stop_reason:
        faults += _faults_at_outputs(walk)
    faults.sort(key=lambda fault: target_runner.index.get(fault.target_node, len(target_runner.nodes)))
    if not stop_reason:
        faults += _missing_outputs(walk)
    aligned = {name: matches[0] for name, matches in walk.aligned.items()}
    kept_walk = None if activations is None else walk
    session = LocalizationSession(target_model, faults, target_inputs, contents.tensors, aligned, kept_walk)
    return LocateResult(
        session_id=hold(session),
        faults=tuple(fault.summary() for fault in faults),
        model_runs=1 + -(-walk.runs // max(1, len(target_runner.nodes))),
        nodes_run=walk.runs,
        unrelated_weights=unrelated_weights(target_runner, faults),
        stop_reason=stop_reason,
        aligned_tensors=len(walk.aligned),
        runtime_differences=(
            contents.exempt_differences(target_runner, source_runner, walk.aligned)
            if isinstance(contents, RuntimeActivations)
            else ()
        ),
    )


def _walk_to_the_end(walk: Walk, deadline: float) -> tuple[list[LocatedFault], str]:
    """Explain and patch one divergence after another; also returns why the walk stopped early, "" if it did not."""
    faults: list[LocatedFault] = []
    for _ in range(MAX_FAULTS):
        frontier = walk.frontier()
        if not frontier or walk.complete():
            break
        if time.monotonic() > deadline:
            return faults, "the time for repair was over"
        explanations = (explain(walk, node, deadline) for node in frontier)
        explanation = next((each for each in explanations if each is not None), None)
        if explanation is None:
            node = frontier[0]
            return [*faults, _unexplained(walk, node)], f"no repair was found for what {node.op_type} {node.name} gives"
        divergence, proposals = explanation
        new = [located_fault(walk, divergence, proposal) for proposal in proposals]
        # Behind values in a wrong order that are now in the right one, a fault may be located again, without the first.
        faults = [fault for fault in faults if not any(_is_same_fault(fault, other) for other in new)] + new
        walk.patch(divergence, afresh=True)
        if len(faults) >= MIN_FAULTS_OF_UNRELATED and unrelated_weights(walk.target, faults) > UNRELATED:
            return faults, "most of the weights looked at have nothing to do with the Source's"
    return faults, ""


def _faults_at_outputs(walk: Walk) -> list[LocatedFault]:
    """Outputs that hold the right values in a wrong order; patches them."""
    faults = []
    for output, name in zip(walk.target.outputs, walk.order, strict=False):
        for divergence, proposal in islice(tensor_structure.at_output(walk, output, name), 1):
            faults.append(located_fault(walk, divergence, proposal))
            walk.patch(divergence)
    return faults


def canonical(path: str) -> onnx.ModelProto:
    """Load a model in the form in which both sides are compared: opset 13 at least, named nodes, constants computed.

    Nothing else is rewritten: nodes that are written differently and compute the same are aligned by their content.
    """
    model, _ = rewrites.rewrite(onnx.load(path), names=())
    return fold_constants(model)


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace nodes that read constants alone, such as those that dequantise weights, by the constants they compute."""
    runner = GraphRunner(model)
    remaining = []
    for node in runner.nodes:
        if runner.dynamic(node) or not node.input:
            remaining.append(node)
            continue
        for name, value in zip([name for name in node.output if name], runner.run(node, {}), strict=True):
            runner.constants[name] = value
            model.graph.initializer.append(numpy_helper.from_array(value, name))
    del model.graph.node[:]
    model.graph.node.extend(remaining)
    return model


def _is_same_fault(fault: LocatedFault, other: LocatedFault) -> bool:
    """Whether these are one fault, located at two tensors."""
    if (fault.type, fault.target_node) != (other.type, other.target_node):
        return False
    return fault.words == other.words or fault.evidence["target_tensor"] == other.evidence["target_tensor"]


def _unexplained(walk: Walk, node: onnx.NodeProto) -> LocatedFault:
    evidence: dict[str, Any] = {"operator": node.op_type, "says": walk.failed.get(node.name, "")}
    return LocatedFault("CG", node.name, node.output[0], "", evidence, (), "no repair was found")


def _missing_outputs(walk: Walk) -> Iterator[LocatedFault]:
    """Outputs that the Target lacks, has too many or has in another order, though all that it computes is right."""
    computed = {match.name for matches in walk.aligned.values() for match in matches}
    for index, name in enumerate(walk.order):
        if name not in computed and name in walk.contents.tensors:  # a constant is no tensor that the Source computes
            yield _missing_end(walk, index, name, computed)
    if all(name in computed for name in walk.order):
        ends = computation_graph.outputs(walk, dict(zip(walk.order, walk.target.outputs, strict=False)))
        if ends is not None:
            edits, evidence, node, tensor = ends
            matches = walk.aligned.get(tensor)
            source_tensor = matches[0].name if matches else ""
            maker = walk.source.maker.get(source_tensor)
            source_node = "" if maker is None else maker.name
            words = edits[0].words
            yield LocatedFault("CG", node, tensor, source_node, evidence, edits, words, source_tensor=source_tensor)


def _missing_end(walk: Walk, index: int, name: str, computed: set[str]) -> LocatedFault:
    """The nodes that the Target lacks behind what it computes, up to the Source's output ``name``."""
    content = walk.contents.tensors[name]
    nodes = walk.source.between(name, computed)
    layout = TensorLayout(tuple(range(content.ndim)), tuple(content.shape[1:]))
    built = build(walk, nodes, name, layout) if index < len(walk.target.outputs) else None
    operators = [node.op_type for node in computing_nodes(nodes)]
    output = walk.target.outputs[min(index, len(walk.target.outputs) - 1)]
    edits: tuple[Edit, ...] = ()
    if built is not None:
        added, constants, new = built
        words = f"the missing {' and '.join(operators)} put at the end"
        edits = (Rewire(words, output, new, None, added, constants),)
    evidence = {
        "operator": operators[-1] if operators else "",
        "difference": "missing nodes",
        "missing": operators,
    }
    maker = walk.target.maker.get(output)
    target_node, source_node = output if maker is None else maker.name, nodes[-1].name if nodes else name
    words = edits[0].words if edits else "no repair was found"
    return LocatedFault("CG", target_node, output, source_node, evidence, edits, words)


def unrelated_weights(runner: GraphRunner, faults: Sequence[LocatedFault]) -> float:
    """The share of the weighted nodes up to the last fault whose weights have nothing to do with the Source's."""
    unrelated, last = 0, 0
    for fault in faults:
        last = max(last, runner.index.get(fault.target_node, 0))
        weights = [array for array in fault.evidence.get("tensors", ()) if array["role"] == "weights"]
        unrelated += fault.type == "WB" and any(array["correlation"] < UNRELATED for array in weights)
    weighted = sum(
        1
        for node in runner.nodes[: last + 1]
        if node.op_type in WEIGHTED and any(name in runner.constants for name in node.input)
    )
    return unrelated / weighted if weighted else 0.0
