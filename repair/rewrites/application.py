"""Apply rewrites to a model until none has anything left to do."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from .free_batch import UNREADABLE, freeze_computed_shapes
from .rule import Applied, Refused, Rewrite, Skipped
from .site import LINEAGE, ORIGIN, RULE

MAX_ROUNDS = 12
_FOLD_INPUT_BYTES = 1 << 22
_FOLD_OUTPUT_BYTES = 1 << 22


def name_nodes(model: ir.Model) -> None:
    """Give every node of the main graph a unique name, after its first output where it has none.

    The names depend on the model alone, so they are the same each time it is loaded.
    """
    seen: set[str] = set()
    for node in model.graph:
        outputs = [v.name for v in node.outputs if v.name]
        wanted = node.name or f"{node.op_type}:{outputs[0] if outputs else ''}"
        name, count = wanted, 1
        while name in seen:
            name, count = f"{wanted}_{count}", count + 1
        seen.add(name)
        node.name = name
        node.metadata_props.setdefault(ORIGIN, name)


def infer(model: ir.Model) -> None:
    """Fill in shapes and types; where strict inference gives up, what is known stays."""
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


def settle(model: ir.Model) -> None:
    """Inline local functions, fold what is constant into initializers, infer shapes. Names stay."""
    common.InlinePass()(model)
    common.RemoveInitializersFromInputsPass()(model)
    name_nodes(model)
    infer(model)
    optimizer.fold_constants(model, input_size_limit=_FOLD_INPUT_BYTES, output_size_limit=_FOLD_OUTPUT_BYTES)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.RemoveUnusedNodesPass()(model)
    name_nodes(model)
    infer(model)
    if freeze_computed_shapes(model):
        infer(model)


def run(
    model: ir.Model, rewrites: Sequence[Rewrite], nodes: Collection[str] | None
) -> tuple[list[Applied], list[Skipped]]:
    """Rewrite in place. Each round offers every node once, so what changed is offered again.

    A rewrite is not applied to what it, or a rewrite that it undoes, has written: the graph cannot grow without end.
    """
    model.meta.pop(UNREADABLE, None)  # what was settled since may be read now
    applied: list[Applied] = []
    skipped: dict[Skipped, None] = {}
    for _ in range(MAX_ROUNDS):
        before = len(applied)
        skipped.clear()
        for node in list(model.graph):
            origin = node.metadata_props.get(ORIGIN) or str(node.name)
            if node.graph is None or node.domain not in ("", "ai.onnx"):
                continue
            if nodes is not None and origin not in nodes and node.name not in nodes:
                continue
            op_type = node.op_type
            lineage = set(filter(None, (node.metadata_props.get(LINEAGE) or "").split(",")))
            for rule in rewrites:
                if op_type not in rule.operators and "*" not in rule.operators:
                    continue
                if lineage & {rule.name, *rule.undoes}:
                    continue
                model.meta[RULE] = rule.name
                outcome = rule.apply(model, node)
                if isinstance(outcome, Refused):
                    skipped[Skipped(rule.name, origin, op_type, outcome.reason)] = None
                elif outcome:
                    applied.append(Applied(rule.name, origin, op_type, rule.fault_type))
                    break
        if len(applied) == before:
            break
        common.RemoveUnusedNodesPass()(model)
        infer(model)
    model.meta.pop(RULE, None)
    return applied, list(skipped)


def has_foldable(model: ir.Model) -> bool:
    """Return whether settling may find more to fold: functions, sizes that are read, nodes of constants alone."""
    return any(
        node.domain not in ("", "ai.onnx")
        or node.op_type in ("Shape", "Size", "Constant")
        or (node.inputs and all(value is None or value.const_value is not None for value in node.inputs))
        for node in model.graph
    )


def forget_lineage(model: ir.Model) -> None:
    """Remove from every node which rewrites led to it: the next rewriting starts afresh."""
    for node in model.graph.all_nodes():
        node.metadata_props.pop(LINEAGE, None)


def load(model: onnx.ModelProto) -> ir.Model:
    """A copy of the model in the form that rewrites work on."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return ir.from_proto(copy)
