"""One operator between two others, rewritten, and compared with the original as onnxruntime runs both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper
import onnxruntime
from onnx import TensorProto, helper
from safeconvert.repair import rewrites

Array = npt.NDArray[Any]


BATCH = 3


TO_BOOL = ("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal", "Not", "And", "Or", "Xor")


TOLERANCE = 1e-5


@dataclass(frozen=True)
class Case:
    """One operator on a tensor of (N, *shape), constants as further inputs ("" for an absent one)."""

    id: str
    op: str
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: tuple[Any, ...] = ()
    shape: tuple[int, ...] = (4, 7, 10)
    opset: int = 13
    names: tuple[str, ...] | None = None
    gone: str | None = None  # an attribute that must be gone; the operator itself where None
    stays: bool = False  # neither: only the values are checked
    static: bool = False
    positive: bool = False
    outputs: int = 1
    cast: int = 0  # the operator's type of the tensor where that is not float; float again after it
    place: int = 0  # which of the operator's inputs the tensor is
    settles_later: bool = False  # a second rewrite gives constants of the first their full rank

    @property
    def changes_opset(self) -> bool:
        """Whether preparing the model raises its opset to 13, or can lower it to 13."""
        return self.opset != rewrites.OLDEST


def case_id(case: Case) -> str:
    return case.id


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.asarray(values, dtype=np.int64)


def build(case: Case, tail: bool = True) -> onnx.ModelProto:
    """The operator between two Muls, so that it touches neither border of the graph."""
    batch: int | str = BATCH if case.static else "N"
    names: list[str] = []
    initializers = []
    for i, constant in enumerate(case.constants):
        if isinstance(constant, str):
            names.append("")
            continue
        names.append(f"c{i}")
        initializers.append(onnx.numpy_helper.from_array(np.asarray(constant), f"c{i}"))
    names.insert(case.place, "typed" if case.cast else "mid")
    initializers.append(onnx.numpy_helper.from_array(np.asarray(1.5, np.float32), "gain"))
    first = "x"
    nodes = []
    if case.positive:
        nodes = [
            helper.make_node("Abs", ["x"], ["size"], name="size"),
            helper.make_node("Add", ["size", "gain"], ["p"], name="p"),
        ]
        first = "p"
    nodes.append(helper.make_node("Mul", [first, "gain"], ["mid"], name="before"))
    if case.cast:
        nodes.append(helper.make_node("Cast", ["mid"], ["typed"], name="before_cast", to=case.cast))
    results = [f"y{i}" for i in range(case.outputs)]
    nodes.append(helper.make_node(case.op, names, results, name="target", **case.attributes))
    integer = case.op in ("ArgMax", "ArgMin", "Shape")
    if case.cast or case.op in TO_BOOL:
        nodes.append(helper.make_node("Cast", ["y0"], ["number"], name="after_cast", to=TensorProto.FLOAT))
        results = ["number"]
    if tail and not integer:
        nodes += [helper.make_node("Mul", [r, "gain"], [f"out{i}"], name=f"after{i}") for i, r in enumerate(results)]
        finals = [f"out{i}" for i in range(case.outputs)]
    else:
        finals = results
    kind = TensorProto.INT64 if integer else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *case.shape])],
        [helper.make_tensor_value_info(n, kind, None) for n in finals],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=8)


def execute(model: onnx.ModelProto, x: Array) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


def difference(model: onnx.ModelProto, other: onnx.ModelProto, shape: Sequence[int]) -> float:
    """Largest difference relative to the largest output; inf where shapes, counts or finiteness differ."""
    x = noise(BATCH, *shape, seed=1) * 2
    left, right = execute(model, x), execute(other, x)
    if len(left) != len(right) or not left:
        return float("inf")
    worst = 0.0
    for a, b in zip(left, right, strict=True):
        if a.shape != b.shape or a.size == 0 or not np.isfinite(a).all() or not np.isfinite(b).all():
            return float("inf")
        worst = max(worst, float(np.abs(a - b).max()) / max(float(np.abs(a).max()), 1e-6))
    return worst


def W(*shape: int) -> Array:
    return noise(*shape, seed=7) * np.float32(0.4)


def is_plain(node: onnx.NodeProto, attribute: str) -> bool:
    """Whether the attribute is absent or says nothing."""
    for setting in node.attribute:
        if setting.name == attribute.rstrip("!"):
            value = helper.get_attribute_value(setting)
            if not attribute.endswith("!"):
                return False
            empty = {0} if attribute.startswith("pads") or attribute == "transA!" else {1}
            return set(value if isinstance(value, list) else [value]) <= empty
    return True


def assert_rewritten(case: Case, rules: Sequence[rewrites.Rewrite]) -> None:
    """The operator is rewritten by one of ``rules``, the graph computes the same, and nothing is left to rewrite."""
    model = build(case)
    result, applied = rewrites.rewrite(model, names=case.names)
    onnx.checker.check_model(result, full_check=True)
    assert [o.name for o in result.graph.output] == [o.name for o in model.graph.output]
    left = [n for n in result.graph.node if n.op_type == case.op]
    if case.gone is not None:
        assert all(is_plain(n, case.gone) for n in left), left
    elif not case.stays:
        assert not [n for n in left if not n.name.startswith(("before", "after"))], applied
    at_target = {a.rewrite for a in applied if a.node.split("/")[0] == "target"}
    if at_target and not case.stays:
        assert at_target & {rule.name for rule in rules}, applied
    assert difference(model, result, case.shape) <= TOLERANCE
    if case.names is None and not case.settles_later:
        assert not rewrites.rewrite(result)[1]


def assert_opsets_agree(case: Case) -> None:
    """Lowered to opset 13 and 17 the graph computes the same; raised to 13, its nodes keep their names."""
    for opset in (13, 17):
        if case.opset > opset:
            model = build(case)
            lower = rewrites.prepare(model, opset)
            assert {i.version for i in lower.opset_import if i.domain == ""} == {opset}
            onnx.checker.check_model(lower, full_check=True)
            assert difference(model, lower, case.shape) <= TOLERANCE
    if case.opset < rewrites.OLDEST:
        names = [n.name for n in rewrites.prepare(build(case), None).graph.node]
        assert {"before", "after0"} <= set(names)
        assert any(n.split("/")[0] == "target" for n in names) or case.op == "Dropout"


def one_operator(
    op: str, attributes: dict[str, Any], x: Array, *constants: Array, place: int = 0, outputs: int = 1
) -> onnx.ModelProto:
    """The operator by itself on x, in opset 16."""
    names = [f"y{i}" for i in range(outputs)]
    inputs = [f"c{i}" for i in range(len(constants))]
    inputs.insert(place, "x")
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [helper.make_node(op, inputs, names, name="target", **attributes)],
        "alone",
        [helper.make_tensor_value_info("x", kind, ["N", *x.shape[1:]])],
        [onnx.ValueInfoProto(name=n) for n in names],
        [onnx.numpy_helper.from_array(c, f"c{i}") for i, c in enumerate(constants)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    result = onnx.shape_inference.infer_shapes(model)
    assert result.graph.output[0].type.HasField("tensor_type")
    return result
