"""A small net of many operators, ways to write it otherwise, and ways to break it: for the tests of the repair core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair.localization import locate, session
from safeconvert.repair.localization.finding import FaultSummary

Array = np.ndarray[Any, Any]
SIZES = (3, 20, 14)  # channels, height, width: no two alike, and none that a layer gives
CLASSES = 10


class Builder:
    """Nodes and seeded weights, one after the other; each method gives the name of what it computes."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def keep(self, name: str, array: Array) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, name: str, *shape: int) -> str:
        by = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1
        return self.keep(name, (self.random.normal(size=shape) * by).astype(np.float32))

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def conv(
        self, x: str, name: str, before: int, after: int, size: int = 3, stride: int = 1, pad: int = 1, group: int = 1
    ) -> str:
        weights = [self.weight(f"{name}_w", after, before // group, size, size), self.weight(f"{name}_b", after)]
        return self.node("Conv", [x, *weights], name, pads=[pad] * 4, strides=[stride] * 2, group=group)

    def norm(self, x: str, name: str, channels: int) -> str:
        random = self.random
        for key, base in (("s", 1), ("b", 0), ("m", 0), ("v", 1)):
            self.keep(f"{name}_{key}", (base + 0.2 * np.abs(random.normal(size=channels))).astype(np.float32))
        return self.node("BatchNormalization", [x, *(f"{name}_{key}" for key in "sbmv")], name)

    def model(
        self, outputs: Mapping[str, Sequence[int]], sizes: Sequence[int] = SIZES, opset: int = 13
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *sizes])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]) for name, shape in outputs.items()],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def net(seed: int = 0) -> onnx.ModelProto:
    """Convolutions (one depthwise, one transposed) and norms, a residual, two branches joined, five activations."""
    b = Builder(seed)
    x = b.node("Relu", [b.norm(b.conv("x", "c1", 3, 8, stride=2), "b1", 8)], "r1")
    y = b.node("Relu", [b.norm(b.conv(x, "dw", 8, 8, group=8), "b2", 8)], "r2")
    y = b.norm(b.conv(y, "pw", 8, 8, size=1, pad=0), "b3", 8)
    x = b.node("Add", [x, y], "add")
    x = b.node("MaxPool", [x], "mp", kernel_shape=[2, 2], strides=[2, 2])  # 8 x 5 x 3
    left = b.node("LeakyRelu", [b.conv(x, "c4", 8, 12)], "lr", alpha=0.2)
    b.weight("pr_slope", 6, 1, 1)
    right = b.node("PRelu", [b.conv(x, "c5", 8, 6), "pr_slope"], "pr")
    x = b.node("Concat", [left, right], "cat", axis=1)
    b.keep("low", np.array(-0.5, np.float32))
    b.keep("high", np.array(1.5, np.float32))
    x = b.node("Clip", [b.conv(x, "c6", 18, 9, size=1, pad=0), "low", "high"], "clip")
    weights = [b.weight("ct_w", 9, 6, 2, 2), b.weight("ct_b", 6)]
    x = b.node("ConvTranspose", [x, *weights], "ct", strides=[2, 2])  # 6 x 10 x 6
    x = b.node("AveragePool", [x], "ap", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])  # 6 x 5 x 3
    x = b.node("Flatten", [x], "fl")
    b.node("Gemm", [x, b.weight("fc_w", 90, CLASSES), b.weight("fc_b", CLASSES)], "y")
    return b.model({"y": [CLASSES]})


def blocks(count: int = 4, seed: int = 0) -> onnx.ModelProto:
    """Residual blocks that all have the same weights."""
    b = Builder(seed)
    x = b.node("Relu", [b.conv("x", "stem", 3, 6)], "stem_relu")
    weights = [b.weight("w", 6, 6, 3, 3), b.weight("b", 6)]
    for i in range(count):
        y = b.node("Conv", [x, *weights], f"conv{i}", pads=[1, 1, 1, 1])
        y = b.node("Mul", [y, b.keep(f"scale{i}", np.array(0.5, np.float32))], f"mul{i}")
        x = b.node("Relu", [b.node("Add", [x, y], f"add{i}")], f"relu{i}")
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "gap")], "fl")
    b.node("Gemm", [x, b.weight("fc_w", 6, CLASSES), b.weight("fc_b", CLASSES)], "y")
    return b.model({"y": [CLASSES]})


def square(seed: int = 0) -> onnx.ModelProto:
    """Height, width and channels are of one size everywhere: no shape tells axes apart."""
    b = Builder(seed)
    x = b.node("Relu", [b.conv("x", "c1", 8, 8)], "r1")
    x = b.node("Relu", [b.conv(x, "c2", 8, 8)], "r2")
    x = b.node("Tanh", [b.conv(x, "c3", 8, 8)], "th")
    b.node("Gemm", [b.node("Flatten", [x], "fl"), b.weight("fc_w", 512, 6), b.weight("fc_b", 6)], "y")
    return b.model({"y": [6]}, (8, 8, 8))


def two(seed: int = 0) -> onnx.ModelProto:
    """Two outputs of one shape."""
    b = Builder(seed)
    x = b.node("Relu", [b.conv("x", "c1", 3, 8, stride=2)], "r1")
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "gap")], "fl")
    for name in ("y", "z"):
        b.node("Gemm", [x, b.weight(f"{name}_w", 8, CLASSES), b.weight(f"{name}_b", CLASSES)], name)
    return b.model({"y": [CLASSES], "z": [CLASSES]})


# -- changes


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(candidate for candidate in model.graph.node if candidate.name == name)


def constant(model: onnx.ModelProto, name: str) -> Array:
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))


def put(model: onnx.ModelProto, name: str, array: Array) -> str:
    """Set a constant, or add it."""
    new = numpy_helper.from_array(np.ascontiguousarray(array), name)
    old = next((t for t in model.graph.initializer if t.name == name), None)
    if old is None:
        model.graph.initializer.append(new)
    else:
        old.CopyFrom(new)
    return name


def weights(model: onnx.ModelProto, name: str, change: Callable[[Array], Array]) -> None:
    put(model, name, change(constant(model, name).copy()).astype(np.float32))


def one_value(model: onnx.ModelProto, name: str, place: tuple[int, ...], by: float) -> None:
    array = constant(model, name).copy()
    array[place] += by
    put(model, name, array)


def settings(model: onnx.ModelProto, name: str, **values: Any) -> None:
    """Give a node other attributes; those that are None go."""
    changed = node(model, name)
    kept = [a for a in changed.attribute if a.name not in values]
    del changed.attribute[:]
    changed.attribute.extend([*kept, *(helper.make_attribute(k, v) for k, v in values.items() if v is not None)])


def behind(model: onnx.ModelProto, name: str, kind: str, *more: str, **attributes: Any) -> None:
    """Put a node ``extra`` behind one: all that read that one read the new one."""
    tensor = node(model, name).output[0]
    outputs = [o.name for o in model.graph.output]
    place = 1 + [reader.name for reader in model.graph.node].index(name)
    if tensor in outputs:
        node(model, name).output[0] = f"{tensor}_inner"
        model.graph.node.insert(
            place, helper.make_node(kind, [f"{tensor}_inner", *more], [tensor], "extra", **attributes)
        )
        return
    for reader in model.graph.node:
        reader.input[:] = ["extra" if read == tensor else read for read in reader.input]
    model.graph.node.insert(place, helper.make_node(kind, [tensor, *more], ["extra"], "extra", **attributes))


def first(model: onnx.ModelProto, kind: str, *more: str, name: str = "extra", **attributes: Any) -> None:
    """Put a node before everything that reads the input."""
    for reader in model.graph.node:
        reader.input[:] = [name if read == "x" else read for read in reader.input]
    model.graph.node.insert(0, helper.make_node(kind, ["x", *more], [name], name, **attributes))


def without(model: onnx.ModelProto, name: str) -> None:
    """Take a node out: what read it reads its first input."""
    removed = node(model, name)
    tensor, replacement = removed.output[0], removed.input[0]
    model.graph.node.remove(removed)
    for other in model.graph.node:
        other.input[:] = [replacement if read == tensor else read for read in other.input]


def instead(model: onnx.ModelProto, name: str, *nodes: onnx.NodeProto) -> None:
    """Put nodes in the place of one."""
    place = [candidate.name for candidate in model.graph.node].index(name)
    del model.graph.node[place]
    for i, candidate in enumerate(nodes):
        model.graph.node.insert(place + i, candidate)


# -- looking


@dataclass(frozen=True)
class Looked:
    """What ``locate`` said of a Target, and how far its view is from the Source's, as it is and repaired (relative)."""

    faults: list[FaultSummary]
    why: str
    unrelated_weights: float
    model_runs: int
    nodes_run: int
    before: float
    after: float

    @property
    def brief(self) -> list[tuple[str, str]]:
        return [(fault.type, fault.target_node) for fault in self.faults]


def takes(model: onnx.ModelProto, x: Array) -> bool:
    """Does the model declare an input of these sizes?"""
    sizes = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return all(not size or size == actual for size, actual in zip(sizes, x.shape, strict=True))


def run(model: onnx.ModelProto, x: Array) -> list[Array]:
    """What a session of our own says of a model."""
    chosen = onnxruntime.SessionOptions()
    chosen.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), chosen, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: x}))


def apart(expected: Sequence[Array], actual: Sequence[Array] | None) -> float:
    """The largest difference as a share of the largest value; infinite where outputs or their shapes are others."""
    if actual is None or [a.shape for a in expected] != [a.shape for a in actual]:
        return float("inf")
    return max(
        float(np.abs(a - b).max() / np.abs(a).max()) if np.isfinite(b).all() else float("inf")
        for a, b in zip(expected, actual, strict=True)
    )


def inputs(model: onnx.ModelProto, seed: int, count: int = 3) -> Array:
    sizes = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    return np.random.default_rng(seed).normal(size=(count, *sizes)).astype(np.float32)


def look(
    folder: Path, source: onnx.ModelProto, target: onnx.ModelProto, as_target: Callable[[Array], Array] = lambda x: x
) -> Looked:
    """Look for the Target's faults, and try the repaired view on inputs that were not looked at.

    ``as_target`` brings an input of the Source into the Target's layout.
    """
    paths = [folder / name for name in ("source.onnx", "target.onnx", "repaired.onnx")]
    onnx.save(source, paths[0])
    onnx.save(target, paths[1])
    x, fresh = inputs(source, 1), inputs(source, 2)
    mapping = {"x": x}, {target.graph.input[0].name: as_target(x)}
    order = [o.name for o in source.graph.output]
    located = locate.locate(str(paths[0]), str(paths[1]), *mapping, order)
    session.write(located.session_id, str(paths[2]), range(len(located.faults)))
    expected = run(source, fresh)
    x = as_target(fresh)
    distances = [apart(expected, run(each, x) if takes(each, x) else None) for each in (target, onnx.load(paths[2]))]
    return Looked(
        faults=list(located.faults),
        why=located.stop_reason,
        unrelated_weights=located.unrelated_weights,
        model_runs=located.model_runs,
        nodes_run=located.nodes_run,
        before=distances[0],
        after=distances[1],
    )
