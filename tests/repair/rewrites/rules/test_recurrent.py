"""LSTM, GRU and RNN unrolled: against onnxruntime running the layer, and delivered by the converters that lack it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import recurrent

from tests.support.command import safeconvert
from tests.support.framework_alone import alone
from tests.support.onnx_execution import Feeds, execute, weights

STEPS, INPUTS, HIDDEN = 4, 3, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
WAYS = ("forward", "reverse", "bidirectional")
TOLERANCE = 1e-5


def layer(
    kind: str,
    way: str = "forward",
    *,
    bias: bool = True,
    states: Sequence[str] = (),
    peepholes: bool = False,
    lengths: Sequence[int] | None = None,
    outputs: Sequence[str] | None = None,
    opset: int = 16,
    steps: int | str = STEPS,
    **attributes: Any,
) -> onnx.ModelProto:
    """One recurrent layer on X [steps, N, I]; `states` (h0, c0) are graph inputs. All outputs unless told."""
    count, gates = 2 if way == "bidirectional" else 1, GATES[kind]
    arrays = {"W": weights(1, count, gates * HIDDEN, INPUTS), "R": weights(2, count, gates * HIDDEN, HIDDEN)}
    if bias:
        arrays["B"] = weights(3, count, 2 * gates * HIDDEN)
    if lengths is not None:
        arrays["lengths"] = np.asarray(lengths, np.int32)
    if peepholes:
        arrays["P"] = weights(4, count, 3 * HIDDEN)
    inputs = ["X", "W", "R", "B", "lengths", "h0", "c0", "P"][: 8 if kind == "LSTM" else 6]
    inputs = [name if name == "X" or name in arrays or name in states else "" for name in inputs]
    names = outputs if outputs is not None else ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    declared = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [steps, "N", INPUTS])]
    declared += [helper.make_tensor_value_info(name, TensorProto.FLOAT, [count, "N", HIDDEN]) for name in states]
    node = helper.make_node(kind, inputs, names, name="layer", hidden_size=HIDDEN, direction=way, **attributes)
    graph = helper.make_graph(
        [node],
        "layer",
        declared,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def mapping(model: onnx.ModelProto, batch: int) -> Feeds:
    sizes = {i.name: [d.dim_value or batch for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    return {name: 2 * weights(batch, *shape) for name, shape in sizes.items()}


def assert_unrolled(model: onnx.ModelProto, names: Sequence[str] | None = None) -> onnx.ModelProto:
    result, _ = rewrites.rewrite(model, names=names)
    onnx.checker.check_model(result, full_check=True)
    assert not {node.op_type for node in result.graph.node} & set(GATES)
    for batch in (1, 3):
        arrays = mapping(model, batch)
        for wanted, got in zip(execute(model, arrays), execute(result, arrays), strict=True):
            assert wanted.shape == got.shape
            assert wanted.size
            assert np.abs(wanted - got).max() <= TOLERANCE * max(1.0, float(np.abs(wanted).max()))
    return result


def variants() -> Iterator[Any]:
    for kind, way in itertools.product(GATES, WAYS):
        both = ("h0", "c0") if kind == "LSTM" else ("h0",)
        cases: dict[str, dict[str, Any]] = {
            "plain": {},
            "no-bias": {"bias": False},
            "states": {"states": both},
            "hidden": {"states": ("h0",)},
            "clip": {"clip": 0.3, "states": both},
            "last-only": {"outputs": ["", "Y_h"]},
            "opset-22": {"opset": 22},
        }
        if kind == "LSTM":
            cases |= {
                "cell": {"states": ("c0",)},
                "cell-only": {"outputs": ["", "", "Y_c"]},
                "peepholes": {"peepholes": True},
                "peepholes-all": {"peepholes": True, "states": both, "clip": 0.4},
            }
        if kind == "GRU":
            cases |= {
                "behind": {"linear_before_reset": 1},
                "behind-states": {"linear_before_reset": 1, "states": both},
                "behind-clip": {"linear_before_reset": 1, "clip": 0.3},
            }
        for name, case in cases.items():
            yield pytest.param(kind, way, case, id=f"{kind}-{way}-{name}")


@pytest.mark.parametrize(("kind", "way", "case"), list(variants()))
def test_an_unrolled_layer_computes_the_same(kind: str, way: str, case: dict[str, Any]) -> None:
    assert_unrolled(layer(kind, way, **case), rewrites.MISSING)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(
    ("functions", "numbers"),
    [
        (["Relu"], {}),
        (["Softsign"], {}),
        (["Softplus", "Tanh", "Tanh"], {}),
        (["Elu"], {}),
        (["HardSigmoid"], {}),
        (["LeakyRelu"], {"activation_alpha": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}),
        (["ThresholdedRelu"], {"activation_alpha": [0.2] * 6}),
        (["Affine"], {"activation_alpha": [0.5] * 6, "activation_beta": [0.1] * 6}),
        (["ScaledTanh"], {"activation_alpha": [0.5] * 6, "activation_beta": [0.7] * 6}),
        (
            ["LeakyRelu", "Tanh", "HardSigmoid"] * 2,
            {"activation_alpha": [0.3, 0.6, 0.2, 0.1], "activation_beta": [0.2, 0.4]},
        ),
    ],
)
def test_every_activation_has_its_own_numbers(
    kind: str, way: str, functions: list[str], numbers: dict[str, list[float]]
) -> None:
    count = FUNCTIONS[kind] * (2 if way == "bidirectional" else 1)
    chosen = (functions * count)[:count]
    takers = {"activation_alpha": {"Tanh"}, "activation_beta": {"Tanh", "LeakyRelu"}}
    numbers = {k: v[: sum(name not in takers[k] for name in chosen)] for k, v in numbers.items()}
    model = layer(kind, way, activations=chosen, **{k: v for k, v in numbers.items() if v})
    assert_unrolled(model, ["recurrent-unrolled"])


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("way", WAYS)
def test_layout_1_is_layout_0_between_transposes(kind: str, way: str) -> None:
    """onnxruntime has no layout 1; the specification defines it as this."""
    states = ("h0", "c0") if kind == "LSTM" else ("h0",)
    plain, turned = layer(kind, way, states=states), layer(kind, way, states=states, layout=1)
    for value in turned.graph.input:
        first, second = value.type.tensor_type.shape.dim[:2]
        copy = type(first)()
        copy.CopyFrom(first)
        first.CopyFrom(second)
        second.CopyFrom(copy)
    result, _ = rewrites.rewrite(turned)
    onnx.checker.check_model(result, full_check=True)
    arrays = mapping(plain, 3)
    wanted = execute(plain, arrays)
    got = execute(result, {name: x.swapaxes(0, 1) for name, x in arrays.items()})
    backs = [(2, 0, 1, 3), *[(1, 0, 2)] * (len(wanted) - 1)]  # wanted[0] is [T, D, N, H]
    for a, b, perm in zip(wanted, got, backs, strict=True):
        assert a.transpose(perm).shape == b.shape
        np.testing.assert_allclose(a.transpose(perm), b, atol=TOLERANCE)


def test_full_lengths_and_constant_states_are_taken() -> None:
    model = layer("GRU", "bidirectional", lengths=[STEPS] * 3)
    result, _ = rewrites.rewrite(model)
    arrays = mapping(model, 3)
    for a, b in zip(execute(model, arrays), execute(result, arrays), strict=True):
        np.testing.assert_allclose(a, b, atol=TOLERANCE)
    model = layer("LSTM", "bidirectional", states=("h0", "c0"))
    for name in ("h0", "c0"):
        model.graph.initializer.append(numpy_helper.from_array(weights(9, 2, 3, HIDDEN), name))
    del model.graph.input[1:]
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    result, _ = rewrites.rewrite(model)
    assert "LSTM" not in {node.op_type for node in result.graph.node}
    for a, b in zip(execute(model, mapping(model, 3)), execute(result, mapping(model, 3)), strict=True):
        np.testing.assert_allclose(a, b, atol=TOLERANCE)


def stacked() -> onnx.ModelProto:
    """What torch writes for two layers with `batch_first`: states of zeros made from the batch, Squeeze and Transpose,
    a Reshape of both directions."""
    pieces = {"W": (INPUTS, 2), "V": (2 * HIDDEN, 1)}
    arrays = {"class": weights(8, HIDDEN, 4), "all": np.int64([0, 0, -1]), "one": np.int64([1]), "two": np.int64([2])}
    arrays |= {"first": np.int64([0]), "size": np.int64([HIDDEN])}
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["batch"], axis=0),
        helper.make_node("Transpose", ["x"], ["W_x"], perm=[1, 0, 2]),
    ]
    for name, (inputs, count) in pieces.items():
        arrays[name] = weights(5, count, 4 * HIDDEN, inputs)
        arrays[f"{name}_r"], arrays[f"{name}_b"] = weights(6, count, 4 * HIDDEN, HIDDEN), weights(7, count, 8 * HIDDEN)
        nodes += [
            helper.make_node("Concat", ["two" if count == 2 else "one", "batch", "size"], [f"{name}_zero"], axis=0),
            helper.make_node("ConstantOfShape", [f"{name}_zero"], [f"{name}_0"]),
            helper.make_node(
                "LSTM",
                [f"{name}_x", name, f"{name}_r", f"{name}_b", "", f"{name}_0", f"{name}_0"],
                [f"{name}_y", f"{name}_h"],
                name=f"{name}_layer",
                hidden_size=HIDDEN,
                direction="bidirectional" if count == 2 else "forward",
            ),
        ]
    nodes[-3:-3] = [
        helper.make_node("Transpose", ["W_y"], ["W_t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["W_t", "all"], ["V_x"]),
    ]
    nodes += [
        helper.make_node("Squeeze", ["V_y", "one"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["t", "class"], ["scores"]),
        helper.make_node("ReduceMean", ["scores"], ["y"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "stacked",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", STEPS, INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def test_stacked_layers_keep_the_batch_free_and_first() -> None:
    result = assert_unrolled(stacked())
    kinds = [node.op_type for node in result.graph.node]
    assert not {"Shape", "ConstantOfShape"} & set(kinds)
    for node in result.graph.node:
        for attribute in node.attribute:
            assert attribute.name != "perm" or attribute.ints[0] == 0


def moved(steps: int, *nodes: onnx.NodeProto, **shapes: Sequence[int]) -> onnx.ModelProto:
    """x [N, steps, 4] with its batch moved to the second place as `t`, and nodes on it that end in `y`."""
    graph = helper.make_graph(
        [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), *nodes],
        "moved",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", steps, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(shape, np.int64), name) for name, shape in shapes.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


RESHAPED = helper.make_node("Reshape", ["t", "s"], ["r"])
HEADS_LAST = helper.make_node("Transpose", ["r"], ["y"], perm=[1, 0, 2])
COUNTED = (
    helper.make_node("Shape", ["x"], ["sizes"]),
    helper.make_node("Gather", ["sizes", "zero"], ["n"], axis=0),
    helper.make_node("Mul", ["n", "two"], ["heads"]),
    helper.make_node("Concat", ["five", "heads", "two"], ["s"], axis=0),
)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(moved(5, RESHAPED, HEADS_LAST, s=[5, -1, 2]), id="heads"),
        pytest.param(moved(5, RESHAPED, helper.make_node("Relu", ["r"], ["y"]), s=[5, -1, 2]), id="heads-stay"),
        pytest.param(moved(5, *COUNTED, RESHAPED, HEADS_LAST, zero=[0], two=[2], five=[5]), id="computed"),
        pytest.param(moved(5, helper.make_node("Reshape", ["t", "s"], ["y"]), s=[5, -1]), id="flat"),
        pytest.param(moved(5, helper.make_node("Flatten", ["t"], ["y"], axis=1)), id="flatten"),
        pytest.param(moved(1, helper.make_node("Reshape", ["t", "s"], ["y"]), s=[-1, 2]), id="one-step"),
        pytest.param(moved(5, helper.make_node("Reshape", ["t", "s"], ["y"]), s=[5, -1, 2, 2]), id="alone"),
        pytest.param(moved(1, helper.make_node("Reshape", ["t", "s"], ["y"]), s=[-1, 4]), id="alone-first"),
    ],
)
def test_a_moved_batch_is_told_from_one_with_heads_in_it(
    model: onnx.ModelProto, request: pytest.FixtureRequest
) -> None:
    result, applied = rewrites.rewrite(model)
    assert ("batch-first" in {change.rewrite for change in applied}) == ("alone" in request.node.name)
    for batch in (1, 3, 5):
        arrays = mapping(model, batch)
        np.testing.assert_array_equal(execute(result, arrays)[0], execute(model, arrays)[0])


def test_states_of_zeros_made_by_expand_go() -> None:
    """What tf2onnx writes for two directions of a Keras layer."""
    model = layer("GRU", "bidirectional", outputs=["", "Y_h"])
    nodes = [
        helper.make_node("Shape", ["X"], ["sizes"]),
        helper.make_node("Slice", ["sizes", "one", "two", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "width"], ["shape"], axis=0),
        helper.make_node("Expand", ["none", "shape"], ["state"]),
        helper.make_node("Unsqueeze", ["state", "zero"], ["single"]),
        helper.make_node("Concat", ["single", "single"], ["states"], axis=0),
    ]
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    model.graph.node[-1].input[5] = "states"
    arrays = {"zero": np.int64([0]), "one": np.int64([1]), "two": np.int64([2]), "width": np.int64([HIDDEN])}
    arrays["none"] = np.float32(0)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items())
    for names in (rewrites.MISSING, rewrites.PLAIN):
        result = assert_unrolled(model, names)
        assert not {"Shape", "Expand", "Unsqueeze"} & {node.op_type for node in result.graph.node}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (layer("LSTM", steps="T"), "length is not static"),
        (layer("RNN", steps=recurrent.MAX_STEPS + 1), "more than 128"),
        (layer("RNN", "bidirectional", steps=recurrent.MAX_STEPS // 2 + 1), "more than 128"),
        (layer("GRU", lengths=[4, 2, 4]), "shorter than the sequence"),
        (layer("LSTM", input_forget=1), "input_forget"),
        (layer("RNN", activations=["Affine"]), "Affine without alpha"),
        (layer("RNN", activations=["Cosine"]), "activation Cosine"),
    ],
)
def test_what_is_refused_stays_as_it_was_and_says_why(model: onnx.ModelProto, reason: str) -> None:
    result, _ = rewrites.rewrite(model)
    assert [n.op_type for n in result.graph.node] == [n.op_type for n in model.graph.node]
    assert any(
        reason in refusal.reason for refusal in rewrites.refusals(model) if refusal.rewrite == "recurrent-unrolled"
    )


def test_a_wrong_order_of_gates_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of these tests, on the fault that is made most easily."""
    original = recurrent._CELLS["LSTM"]

    def turned(t: Any, d: Any, sequence: Any, order: Any) -> Any:
        gate, candidate, out = d.functions
        object.__setattr__(d, "functions", (candidate, gate, out))
        return original(t, d, sequence, order)

    monkeypatch.setitem(recurrent._CELLS, "LSTM", turned)
    with pytest.raises(AssertionError):
        assert_unrolled(layer("LSTM"))


@pytest.mark.parametrize(("pair", "suffix"), [("onnx2keras", ".keras"), ("onnx2torch", ".pt2")])
def test_stacked_layers_reach_converters_that_have_none(pair: str, suffix: str, tmp_path: Path) -> None:
    onnx.save(stacked(), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", weights(3, 8, STEPS, INPUTS))
    output = tmp_path / f"m{suffix}"
    done = safeconvert(pair, tmp_path / "m.onnx", "--inputs", "x.npz", "-o", output, "--json", folder=tmp_path)
    assert done.code == 0, done.out + done.err
    assert json.loads(done.out)["verdict"] in ("verified", "repaired")
    x = weights(11, 1, STEPS, INPUTS)
    wanted = alone(tmp_path / "m.onnx", "onnx", x)
    np.testing.assert_allclose(alone(output, pair.split("2")[1], x), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", GATES)
def test_states_of_zeros_are_left_out_and_others_stay(kind: str) -> None:
    model = layer(kind, states=("h0",))
    shape = helper.make_tensor("shape", TensorProto.INT64, [3], [1, 3, HIDDEN])
    zeros = helper.make_node("ConstantOfShape", ["shape"], ["zeros"])
    zeroed = onnx.ModelProto()
    zeroed.CopyFrom(model)
    zeroed.graph.initializer.append(shape)
    zeroed.graph.node.insert(0, zeros)
    zeroed.graph.node[1].input[5] = "zeros"
    del zeroed.graph.input[1]
    result, applied = rewrites.rewrite(zeroed, names=rewrites.CANONICAL)
    assert "recurrent-zero-states" in [change.rewrite for change in applied]
    (node,) = [node for node in result.graph.node if node.op_type == kind]
    assert not any(node.input[5:])
    arrays = mapping(zeroed, 3)
    for wanted, got in zip(execute(zeroed, arrays), execute(result, arrays), strict=True):
        np.testing.assert_allclose(got, wanted, atol=TOLERANCE)
    kept, applied = rewrites.rewrite(model, names=["recurrent-zero-states"])
    assert not applied
    assert kept.graph.node[0].input[5] == "h0"
