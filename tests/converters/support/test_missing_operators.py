"""Operators that onnx2keras lacks, or gets wrong without a word, reach Keras as operations that load anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.command import safeconvert
from tests.support.warm_processes import run_script

ROOT = Path(__file__).resolve().parents[3]
TOKENS, WIDTH, HEADS = 6, 8, 2


def save(path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> None:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", TOKENS, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", TOKENS, WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def attention(path: Path) -> None:
    """A masked self-attention as torch exports it: the batch moves behind queries, keys and values, and back."""
    rng, node, depth = np.random.default_rng(0), helper.make_node, WIDTH // HEADS
    nodes = [
        node("MatMul", ["x", "w"], ["qkv"]),
        node("Reshape", ["qkv", "split"], ["parts"]),
        node("Transpose", ["parts"], ["first"], perm=[2, 0, 3, 1, 4]),
        *(node("Gather", ["first", f"at_{i}"], [name], axis=0) for i, name in enumerate("qkv")),
        node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        node("MatMul", ["q", "kt"], ["scores"]),
        node("Greater", ["scores", "limit"], ["is_kept"]),
        node("Where", ["is_kept", "scores", "masked"], ["kept"]),
        node("Softmax", ["kept"], ["shares"], axis=-1),
        node("MatMul", ["shares", "v"], ["mixed"]),
        node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
        node("Reshape", ["back", "join"], ["joined"]),
        node("Erf", ["joined"], ["bent"]),
        node("Einsum", ["bent", "u"], ["y"], equation="bij,jk->bik"),
    ]
    save(
        path,
        nodes,
        {
            "w": rng.normal(size=(WIDTH, 3 * WIDTH)).astype(np.float32),
            "u": rng.normal(size=(WIDTH, WIDTH)).astype(np.float32),
            "split": np.array([-1, TOKENS, 3, HEADS, depth]),
            "join": np.array([-1, TOKENS, WIDTH]),
            "limit": np.array(-2, np.float32),
            "masked": np.array(-1e4, np.float32),
            **{f"at_{i}": np.array(i) for i in range(3)},
        },
    )


def test_an_attention_reaches_keras_without_a_rewrite(tmp_path: Path) -> None:
    attention(tmp_path / "attention.onnx")
    done = safeconvert("onnx2keras", "attention.onnx", "--no-repair", "--json", folder=tmp_path)
    report = json.loads(done.out)
    assert (done.code, report["verdict"]) == (0, "verified"), report["reasons"]
    assert [attempt["form"] for attempt in report["route"]] == [""]


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([("MatMul", ["x", "xt"], "m", {}), ("MatMul", ["m", "x"], "y", {})], {}),
        ([("Gather", ["x", "order"], "y", {"axis": 1})], {"order": np.array([5, -2, 0, 1, 1, 3])}),
        ([("Less", ["x", "zero"], "b", {}), ("Where", ["b", "zero", "x"], "y", {})], {"zero": np.zeros(1, np.float32)}),
        ([("Sign", ["x"], "s", {}), ("Softplus", ["s"], "p", {}), ("Neg", ["p"], "y", {})], {}),
        ([("Split", ["x"], "a b", {"axis": 2}), ("Concat", ["b", "a"], "y", {"axis": 2})], {}),
        (
            [
                ("Slice", ["x", "two", "end", "one"], "a", {}),
                ("Slice", ["x", "zero", "two", "one"], "b", {}),
                ("Concat", ["a", "b"], "y", {"axis": 1}),
            ],
            {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "end": np.array([2**63 - 1])},
        ),
        (
            [("Slice", ["x", "one", "end", "one", "two"], "a", {}), ("Concat", ["a", "a"], "y", {"axis": 1})],
            {"one": np.array([1]), "two": np.array([2]), "end": np.array([2**63 - 1])},
        ),
        (
            [
                ("Reshape", ["x", "windows"], "w", {}),
                ("Softmax", ["w"], "s", {"axis": 1}),
                ("Reshape", ["s", "back"], "y", {}),
            ],
            {"windows": np.array([-1, TOKENS // 2, WIDTH]), "back": np.array([-1, TOKENS, WIDTH])},
        ),
        (
            [
                ("Reshape", ["x", "rows"], "r", {}),
                ("Softmax", ["r"], "s", {"axis": 1}),
                ("Reshape", ["s", "back"], "y", {}),
            ],
            {"rows": np.array([TOKENS, WIDTH]), "back": np.array([1, TOKENS, WIDTH])},
        ),
    ],
    ids=[
        "product of two computed",
        "gather",
        "where",
        "unary",
        "split",
        "roll",
        "steps",
        "windows",
        "rows of one input",
    ],
)
def test_an_operator_that_is_added_gives_what_onnx_says(
    tmp_path: Path, nodes: list[tuple[str, list[str], str, dict[str, int]]], constants: dict[str, np.ndarray]
) -> None:
    onnx_nodes = [helper.make_node(kind, reads, writes.split(), **settings) for kind, reads, writes, settings in nodes]
    turn = helper.make_node("Transpose", ["x"], ["xt"], perm=[0, 2, 1])
    save(
        tmp_path / "net.onnx",
        [turn, *onnx_nodes] if any("xt" in node.input for node in onnx_nodes) else onnx_nodes,
        constants,
    )
    done = safeconvert("onnx2keras", "net.onnx", "--no-repair", "--json", folder=tmp_path)
    report = json.loads(done.out)
    assert (done.code, report["verdict"]) == (0, "verified"), (report["reasons"], report["route"])
    assert [attempt["form"] for attempt in report["route"]] == [""]


def check_refusal() -> None:
    """Check that onnx2keras's own reason stays visible where the function of this project fails too."""
    import tensorflow as tf
    from safeconvert.converters.support.missing_operators import FUNCTIONS, _translator

    def refuse(*arguments: object) -> None:
        raise ValueError("onnx2keras does not know this")

    translate = _translator(FUNCTIONS["Split"], refuse)
    node = helper.make_node("Split", ["x"], ["a", "b"])
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        translate(node, {"axis": 7, "_outputs": ["a", "b"]}, {"x": np.zeros((2, 3), np.float32)}, {}, "split", ["a"])
    assert str(caught.value.__cause__) == "onnx2keras does not know this"


def check_functions() -> None:
    """Check the functions on arrays alone; run in a process of its own, since they import TensorFlow."""
    from safeconvert.converters.support.missing_operators import FUNCTIONS

    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

    def result(name: str, *inputs: object, **attributes: object) -> object:
        return FUNCTIONS[name]([None if item is None else np.asarray(item) for item in inputs], attributes)

    ends = np.array([2**62])
    np.testing.assert_array_equal(result("Slice", x, np.array([1]), ends, np.array([-1])), x[..., 1:])
    np.testing.assert_array_equal(result("Slice", x, [-1], [-(2**62)], [1], [-1]), x[:, ::-1])
    np.testing.assert_array_equal(result("Slice", x, [0, 1], [1, 3]), x[:1, 1:3])
    np.testing.assert_array_equal(result("Gather", x, [-1, 0], axis=2), x[..., [-1, 0]])
    np.testing.assert_array_equal(result("Squeeze", x[:, :1], [1]), x[:, 0])
    np.testing.assert_array_equal(result("Unsqueeze", x, [0, -1]), x[None, ..., None])
    np.testing.assert_array_equal(result("Expand", x[:, :1], [2, 3, 4]), np.broadcast_to(x[:, :1], x.shape))
    np.testing.assert_array_equal(result("Not", x > 3), ~(x > 3))
    check_refusal()
    np.testing.assert_array_equal(result("Reshape", x, [0, -1]), x.reshape(2, 12))
    np.testing.assert_array_equal(result("Reshape", x, [-1, 2, 2]), x.reshape(6, 2, 2))
    parts = result("Split", x, [1, 2], axis=1, _outputs=["a", "b"])
    assert isinstance(parts, list)
    assert [tuple(part.shape) for part in parts] == [(2, 1, 4), (2, 2, 4)]
    normal = np.asarray(result("LayerNormalization", x, np.full(4, 2, np.float32), np.ones(4, np.float32), epsilon=0.0))
    np.testing.assert_allclose(normal.mean(-1), 1, atol=1e-6)
    np.testing.assert_allclose(normal.std(-1), 2, atol=1e-6)


def test_the_functions_give_what_onnx_says_of_constants() -> None:
    code = "from tests.converters.support.test_missing_operators import check_functions; check_functions()"
    run_script("tensorflow", code, ROOT)
