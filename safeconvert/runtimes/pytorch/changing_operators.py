"""PyTorch operators that answer otherwise from call to call, or by the other inputs of a batch. Runs in a worker."""

from __future__ import annotations

import re
from typing import Any

import torch

RANDOM = re.compile(
    r"(rand(int|n|perm)?(_like)?|normal|bernoulli|multinomial|poisson|uniform|exponential|gumbel\w*|rrelu\w*)_?"
)
DROPOUT = re.compile(r"(native_|feature_|feature_alpha_|alpha_)?dropout_?")
BATCH_NORM = re.compile(
    r"(native_|cudnn_|miopen_)?batch_norm|_native_batch_norm_legit(_functional)?|_batch_norm_with_update"
)
FLAG = re.compile(r"train(ing)?")
TRAINING = "{} in training mode"


def program_operators(program: Any) -> list[str]:
    """Return those of an exported program, such as "aten.dropout in training mode"."""
    operators = []
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
                continue
            schema = node.target._schema
            flags = {
                argument.name: node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
                for place, argument in enumerate(schema.arguments)
                if FLAG.fullmatch(argument.name)
            }
            operators += _named(schema.name, bool(flags), any(flags.values()))
    return operators


def script_operators(module: Any) -> list[str]:
    """Return those of a TorchScript module; none of a plain module, whose graph is not known."""
    if not isinstance(module, torch.jit.ScriptModule):
        return []
    operators = []
    waiting = list(module.inlined_graph.nodes())
    while waiting:
        node = waiting.pop()
        waiting += [inner for block in node.blocks() for inner in block.nodes()]
        schema = torch._C.parse_schema(node.schema()) if node.kind().startswith("aten::") and node.schema() else None
        flags = []
        for argument, value in zip(schema.arguments if schema else (), node.inputs(), strict=False):
            if FLAG.fullmatch(argument.name):
                flags.append(bool(value.toIValue()) if value.node().kind() == "prim::Constant" else False)
        operators += _named(node.kind(), bool(flags), any(flags))
    return operators


def _named(operator: str, has_flag: bool, is_training: bool) -> list[str]:
    name = operator.partition("::")[2]
    shown = operator.replace("::", ".")
    if DROPOUT.fullmatch(name) or BATCH_NORM.fullmatch(name):
        always = not has_flag and ("legit" in name or "with_update" in name)
        return [TRAINING.format(shown)] if is_training or always else []
    return [shown] if RANDOM.fullmatch(name) else []
