"""channels_last: what onnx2keras writes becomes a channels-last model without Lambda that any process loads.

TensorFlow stays out of the test process: this file, run as a script, is the child that converts (`convert`)
and then the fresh child that knows only Keras (`load`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

BATCH, CHANNELS = 3, 6
SPACES = {"unequal": (9, 8), "cubic": (6, 6)}  # cubic: C == H == W, where a wrong axis keeps every shape
Nodes = list[onnx.NodeProto]
Constants = dict[str, np.ndarray[Any, Any]]


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(","), outputs.split(","), **attributes)


def weights(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def conv(inputs: str, outputs: str, kernel: int = 3, **attributes: Any) -> onnx.NodeProto:
    pads = attributes.pop("pads", [kernel // 2] * 4)
    strides = attributes.pop("strides", [1, 1])
    dilations = attributes.pop("dilations", [1, 1])
    attributes |= {"kernel_shape": [kernel, kernel], "pads": pads, "strides": strides, "dilations": dilations}
    return node("Conv", inputs, outputs, **attributes)


W, B = weights(CHANNELS, CHANNELS, 3, 3), weights(CHANNELS)
POSITIVE = np.abs(weights(CHANNELS)) + np.float32(0.5)
POOL: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}

CASES: dict[str, tuple[Nodes, Constants]] = {
    "conv": ([conv("x,w,b", "y", strides=[2, 1], pads=[0, 1, 2, 1])], {"w": W, "b": B}),
    "dilated_conv": ([conv("x,w", "y", dilations=[2, 2], pads=[2, 2, 2, 2])], {"w": W}),
    "grouped_conv": (
        [conv("x,w,b", "y", group=3, strides=[2, 2])],
        {"w": weights(12, 2, 3, 3), "b": weights(12)},
    ),
    "grouped_conv_no_bias": ([conv("x,w", "y", group=2)], {"w": weights(6, 3, 3, 3)}),
    "dilated_strided_grouped_conv": (
        [conv("x,w", "y", group=2, strides=[2, 2], dilations=[2, 2], pads=[2] * 4)],
        {"w": weights(6, 3, 3, 3)},
    ),
    "depthwise_conv": ([conv("x,w,b", "y", group=CHANNELS)], {"w": weights(CHANNELS, 1, 3, 3), "b": B}),
    "depthwise_unequal_strides": (
        [conv("x,w", "y", group=CHANNELS, strides=[1, 2])],
        {"w": weights(CHANNELS, 1, 3, 3)},
    ),
    "conv_transpose": (
        [node("ConvTranspose", "x,w,b", strides=[2, 2], kernel_shape=[3, 2], pads=[1, 1, 1, 1])],
        {"w": weights(CHANNELS, 4, 3, 2), "b": weights(4)},
    ),
    "max_pool": ([node("MaxPool", "x", **POOL)], {}),
    "same_max_pool": ([node("MaxPool", "x", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])], {}),
    "average_pool": ([node("AveragePool", "x", **POOL)], {}),
    "added_rows": ([node("Add", "x,rows", "a"), node("Add", "rows,a")], {}),
    "batch_norm": (
        [node("BatchNormalization", "x,s,b,m,v", epsilon=1e-3)],
        {"s": weights(CHANNELS), "b": B, "m": weights(CHANNELS), "v": POSITIVE},
    ),
    "instance_norm": ([node("InstanceNormalization", "x,s,b", epsilon=1e-3)], {"s": POSITIVE, "b": B}),
    "prelu": ([conv("x,w", "c"), node("PRelu", "c,s")], {"w": W, "s": weights(CHANNELS, 1, 1)}),
    "activations": (
        [
            node("Elu", "x", "a", alpha=0.7),
            node("LeakyRelu", "a", "b", alpha=0.2),
            node("Selu", "b", "c"),
            node("Tanh", "c", "d"),
            node("Sigmoid", "d", "y"),
        ],
        {},
    ),
    "clip": ([node("Clip", "x,lo,hi")], {"lo": np.array(-0.3, "f"), "hi": np.array(0.6, "f")}),
    "relu6": (
        [conv("x,w", "c"), node("Clip", "c,lo,hi")],
        {"w": W, "lo": np.array(0, "f"), "hi": np.array(6, "f")},
    ),
    "classifier": (
        [
            conv("x,w", "c"),
            node("GlobalAveragePool", "c", "p"),
            node("Flatten", "p", "f"),
            node("Gemm", "f,d,e", transB=1),
        ],
        {"w": W, "d": weights(5, CHANNELS), "e": weights(5)},
    ),
    "chain": (
        [conv("x,w,b", "c"), node("Relu", "c", "r"), node("MaxPool", "r", "p", **POOL), node("Flatten", "p")],
        {"w": W, "b": B},
    ),
    "concat_channels": (
        [
            conv("x,w", "c"),
            node("MaxPool", "c", "d", kernel_shape=[1, 1], strides=[1, 1]),
            node("Concat", "c,d", axis=1),
        ],
        {"w": W},
    ),
    "concat_rows": ([conv("x,w", "c"), node("Concat", "c,x", axis=2)], {"w": W}),
    "slice": (
        [conv("x,w", "c"), node("Slice", "c,s,e,a")],
        {"w": W, "s": ints(1, 2), "e": ints(4, 6), "a": ints(1, 3)},
    ),
    "split": (
        [conv("x,w", "c"), node("Split", "c,n", "p,q", axis=1), node("Concat", "q,p", axis=1)],
        {"w": W, "n": ints(2, 4)},
    ),
    "zero_pad": ([node("Pad", "x,p")], {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}),
    "reflect_pad": (
        [conv("x,w", "c"), node("Pad", "c,p", mode="reflect")],
        {"w": W, "p": ints(0, 0, 1, 2, 0, 0, 3, 0)},
    ),
    "transpose": ([conv("x,w", "c"), node("Transpose", "c", perm=[0, 2, 3, 1])], {"w": W}),
    "swap_rows_and_columns": ([conv("x,w", "c"), node("Transpose", "c", perm=[0, 1, 3, 2])], {"w": W}),
    "spatial_mean": ([conv("x,w", "c"), node("ReduceMean", "c", axes=[2, 3], keepdims=0)], {"w": W}),
    "channel_mean": ([conv("x,w", "c"), node("ReduceMean", "c", axes=[1], keepdims=1)], {"w": W}),
    "row_max": ([conv("x,w", "c"), node("ReduceMax", "c", axes=[2], keepdims=0)], {"w": W}),
    "reduce_l2": ([conv("x,w", "c"), node("ReduceL2", "c", axes=[1], keepdims=1)], {"w": W}),
    "softmax_channels": ([conv("x,w", "c"), node("Softmax", "c", axis=1)], {"w": W}),
    "softmax_columns": ([node("Softmax", "x", axis=-1)], {}),
    "argmax": ([conv("x,w", "c"), node("ArgMax", "c", axis=1, keepdims=0)], {"w": W}),
    "resize": (
        [
            node(
                "Resize",
                "x,,s",
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ],
        {"s": np.array([1, 1, 2, 3], np.float32)},
    ),
    "constants": (
        [
            conv("x,w", "c"),
            node("Add", "c,k", "d"),
            node("Sub", "d,m", "e"),
            node("Div", "e,v", "f"),
            node("Mul", "f,g"),
        ],
        {
            "w": W,
            "k": weights(1, CHANNELS, 1, 1),
            "m": weights(1, CHANNELS, 1, 1),
            "v": POSITIVE.reshape(1, -1, 1, 1),
            "g": weights(1, 1, 1, 1),
        },
    ),
    "added_picture_after_a_bias": ([conv("x,w,b", "c"), node("Add", "c,picture")], {}),
    "arithmetic": (
        [
            conv("x,w", "c"),
            node("Max", "c,x", "d"),
            node("Pow", "d,two", "e"),
            node("Exp", "x", "f"),
            node("Add", "e,f", "g"),
            node("Sqrt", "g", "h"),
            node("Log", "g", "i"),
            node("Min", "h,i", "j"),
            node("Floor", "j", "k"),
            node("Sub", "j,k"),
        ],
        {"w": W, "two": np.array(2, np.float32)},
    ),
    "residual": ([conv("x,w", "c"), node("Add", "c,x", "d"), node("Relu", "d")], {"w": W}),
    "squeeze_and_excite": (
        [
            conv("x,w", "c"),
            node("GlobalAveragePool", "c", "p"),
            conv("p,v", "s", 1),
            node("Sigmoid", "s", "g"),
            node("Mul", "g,c"),
        ],
        {"w": W, "v": weights(CHANNELS, CHANNELS, 1, 1)},
    ),
    "channel_shuffle": (
        [
            conv("x,w", "c"),
            node("Reshape", "c,a", "d"),
            node("Transpose", "d", "e", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "e,b", "f"),
            conv("f,w", "y"),
        ],
        {"w": W},
    ),
    "squeeze": (
        [
            node("ReduceMean", "x", "m", axes=[2], keepdims=1),
            node("Squeeze", "m,two", "s"),
            node("Unsqueeze", "s,two"),
        ],
        {"two": ints(2)},
    ),
    "instance_of_every_layout": (
        [
            node("Transpose", "x", "t", perm=[0, 2, 3, 1]),
            node("Transpose", "t", "u", perm=[0, 3, 1, 2]),
            conv("u,w", "y"),
        ],
        {"w": W},
    ),
}


AS_GRAPH = {"added_picture_after_a_bias"}  # run as a graph, which TensorFlow's optimiser changes


def model_of(case: str, space: str) -> Any:
    nodes, constants = CASES[case]
    height, width = SPACES[space]
    if case == "channel_shuffle":
        constants = constants | {"a": ints(1, 2, 3, height, width), "b": ints(1, 6, height, width)}
        if space == "cubic":
            constants["a"] = ints(1, 3, 2, height, width)
    if case == "added_picture_after_a_bias":
        constants = {"w": W, "b": weights(CHANNELS), "picture": weights(height, width)}
    if case == "added_rows":
        constants = {"rows": weights(height, 1)}
    graph = helper.make_graph(
        nodes,
        case,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, height, width])],
        [helper.make_tensor_value_info("y", TensorProto.INT64 if case == "argmax" else TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def images(space: str) -> np.ndarray[Any, Any]:
    return weights(BATCH, CHANNELS, *SPACES[space])


# ------------------------------------------------------------------------------------------ the children


def lambdas() -> dict[str, Callable[[Any], Any]]:
    """TensorFlow functions of one (batch, 6, rows, columns) tensor, as Lambda layers might hold them."""
    import tensorflow as tf

    kernel = weights(3, 3, CHANNELS, 4)
    return {
        "lrn": lambda x: tf.transpose(
            tf.nn.local_response_normalization(tf.transpose(x, [0, 2, 3, 1]), 2, 1.5, 0.3, 0.6), [0, 3, 1, 2]
        ),
        "strided": lambda x: x[:, 1:5:2, ..., ::-1],
        "new_and_dropped_axes": lambda x: x[:, tf.newaxis, 2, :, 1:],
        "split": lambda x: tf.concat(tf.split(x, [1, 3, 2], axis=1)[::-1], axis=1),
        "stack": lambda x: tf.stack(tf.unstack(x, axis=1), axis=2),
        "pads": lambda x: tf.pad(
            tf.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]], constant_values=7.0),
            [[0, 0], [2, 1], [0, 0], [1, 3]],
            "SYMMETRIC",
        ),
        "gather": lambda x: tf.gather(tf.gather(x, [3, 0, 5], axis=1), 2, axis=2),
        "tile": lambda x: tf.tile(x, [1, 2, 1, 3]),
        "repeat": lambda x: tf.concat([x, x * 2.0 - 1.0], axis=1),
        "dynamic_reshape": lambda x: tf.reshape(x, [tf.shape(x)[0], -1, x.shape[3]]),
        "flat": lambda x: tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]]),
        "select": lambda x: tf.where(
            tf.logical_and(x > 0.1, x <= 1.0), tf.math.softplus(x), tf.math.squared_difference(x, 2.0)
        ),
        "reductions": lambda x: (
            tf.reduce_sum(x, [1, 3], keepdims=True) * tf.reduce_prod(x, 1, keepdims=True)
            - tf.reduce_min(x, -1, keepdims=True)
        ),
        "arg": lambda x: tf.cast(tf.argmin(x, axis=2, output_type=tf.int32), tf.float32),
        "softmax": lambda x: tf.nn.log_softmax(tf.nn.softmax(x, axis=1)),
        "dense": lambda x: tf.matmul(x, tf.constant(weights(int(x.shape[3]), 5))),
        "products": lambda x: tf.matmul(x, x, transpose_b=True),
        "convolution": lambda x: tf.nn.bias_add(
            tf.nn.conv2d(tf.transpose(x, [0, 2, 3, 1]), kernel, 2, "SAME"), np.arange(4, dtype="f")
        ),
        "depthwise": lambda x: tf.nn.depthwise_conv2d(
            tf.transpose(x, [0, 2, 3, 1]), kernel[..., :2], [1, 1, 1, 1], "VALID"
        ),
        "pools": lambda x: tf.nn.max_pool2d(
            tf.nn.avg_pool2d(tf.transpose(x, [0, 2, 3, 1]), 2, 1, "SAME"), 2, 2, "VALID"
        ),
        "resize": lambda x: tf.image.resize(tf.transpose(x, [0, 2, 3, 1]), [11, 5]),
        "maths": lambda x: tf.math.erf(x) + tf.nn.relu6(x) + tf.math.rsqrt(tf.abs(x) + 1) - tf.round(x) * tf.nn.elu(x),
        "leaky": lambda x: tf.nn.leaky_relu(x, 0.3) + tf.nn.selu(x) + tf.math.floormod(x, 0.7),
        "broadcast": lambda x: tf.broadcast_to(x[:, :, :1], [tf.shape(x)[0], 6, 4, x.shape[3]]),
        "everything_constant": lambda x: x + tf.reduce_sum(tf.reverse(tf.range(6.0), [0]) * 2.0),
        "reverse": lambda x: tf.reverse(x, [1]),
    }


def convert(folder: Path) -> None:
    """Convert every case; write `.keras` files and what a Lambda gave before, and describe them on stdout."""
    import keras
    import onnx2keras
    from safeconvert.converters.keras_rebuild.channels_last import UnsupportedOperation, channels_last

    facts: dict[str, Any] = {}

    def keep(name: str, model: Any) -> None:
        kinds = [type(operation).__name__ for operation in model.operations]
        firsts = [
            operation.name
            for operation in model.operations
            if getattr(operation, "data_format", None) == "channels_first"
        ]
        names = [operation.name for operation in model.operations]
        facts[name] = {
            "kinds": kinds,
            "channels_first": firsts,
            "names": names,
            "inputs": [list(x.shape) for x in model.inputs],
        }
        model.save(folder / f"{name}.keras")

    for case in CASES:
        for space in SPACES:
            written = onnx2keras.onnx_to_keras(model_of(case, space), ["x"], name_policy="renumerate", verbose=False)
            keep(f"{case}-{space}-nchw", channels_last(written))
            keep(f"{case}-{space}-nhwc", channels_last(written, input_layouts={"x": "nhwc"}))
    for name, function in lambdas().items():
        for space in SPACES:
            x = keras.Input((CHANNELS, *SPACES[space]), name="x")
            source = keras.Model(x, keras.layers.Lambda(function, name="lambda")(x))
            np.save(folder / f"lambda_{name}-{space}.npy", np.asarray(source(images(space))))
            keep(f"lambda_{name}-{space}-nchw", channels_last(source))
            keep(f"lambda_{name}-{space}-nhwc", channels_last(source, input_layouts={"x": "nhwc"}))
    keep("many", channels_last(many(keras)))
    import tensorflow as tf

    x = keras.Input((4,), name="x")
    try:
        channels_last(keras.Model(x, keras.layers.Lambda(tf.math.lgamma, name="odd")(x)))
    except UnsupportedOperation as error:
        facts["unsupported"] = {
            "message": str(error),
            "op_type": error.op_type,
            "layer_name": error.layer_name,
        }
    print(json.dumps(facts))


def many(keras: Any) -> Any:
    """A shared layer, a nested model, raw operations, two inputs and three outputs; clashing names."""
    left, right = keras.Input((6, 5, 4), name="left"), keras.Input((6, 5, 4), name="right")
    shared = keras.layers.Conv2D(
        6, 3, padding="same", data_format="channels_first", name="left_nhwc", bias_initializer="ones"
    )
    inner_in = keras.Input((6, 5, 4))
    prelu = keras.layers.PReLU(alpha_initializer=keras.initializers.RandomNormal(seed=3), name="slopes")
    inner = keras.Model(inner_in, prelu(shared(inner_in)), name="inner")
    a, b = shared(left), inner(right)
    total = keras.layers.Average(name="average")([a, b, left])
    shared.set_weights([weights(3, 3, 6, 6), weights(6)])
    outputs = [
        keras.ops.max(total + 1.0, axis=1),
        keras.layers.Flatten(data_format="channels_last")(b),
        total,
    ]
    return keras.Model([left, right], outputs)


def load(folder: Path) -> None:
    """Load every file in safe mode and save its outputs, in a process that never saw the converter."""
    import keras

    for path in sorted(folder.glob("*.keras")):
        model = keras.saving.load_model(path)
        if path.stem == "many":
            pair = [weights(BATCH, 6, 5, 4), weights(BATCH, 6, 5, 4) * 2]
            for index, output in enumerate(model(pair)):
                np.save(folder / f"many-{index}-after.npy", np.asarray(output))
            continue
        case, space, layout = path.stem.split("-")
        x = images(space)
        run = model.predict_on_batch if case in AS_GRAPH else model
        output = run(x.transpose(0, 2, 3, 1) if layout == "nhwc" else x)
        np.save(path.with_name(f"{path.stem}-after.npy"), np.asarray(output))
    import tensorflow as tf

    for stem in ("grouped_conv-unequal-nchw", "lambda_lrn-unequal-nchw"):
        flat = tf.lite.TFLiteConverter.from_keras_model(keras.saving.load_model(folder / f"{stem}.keras")).convert()
        (folder / f"{stem}.tflite").write_bytes(flat)
    model.export(folder / "saved", verbose=False)


if __name__ == "__main__":
    {"convert": convert, "load": load}[sys.argv[1]](Path(sys.argv[2]))


# --------------------------------------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    pytest.importorskip("onnx2keras", reason="needs safeconvert[tensorflow]")
    folder = tmp_path_factory.mktemp("keras_graph")
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    for task in ("convert", "load"):
        done = subprocess.run(
            [sys.executable, __file__, task, str(folder)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        if task == "convert":
            facts = json.loads(done.stdout.splitlines()[-1])
    return folder, facts


def difference(reference: np.ndarray[Any, Any], candidate: np.ndarray[Any, Any]) -> float:
    assert reference.shape == candidate.shape
    assert np.isfinite(candidate).all()
    return float(np.abs(reference - candidate).max() / np.abs(reference).max())


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("case", CASES)
def test_the_loaded_model_agrees_with_onnxruntime(built: Any, case: str, space: str, layout: str) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model_of(case, space).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    if case == "channel_shuffle":  # the batch size stands in its Reshape
        reference = np.concatenate([session.run(None, {"x": image[None]})[0] for image in images(space)])
    else:
        (reference,) = session.run(None, {"x": images(space)})
    assert difference(reference, np.load(built[0] / f"{case}-{space}-{layout}-after.npy")) < 1e-5


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("space", SPACES)
def test_every_replayed_lambda_gives_what_it_gave(built: Any, space: str, layout: str) -> None:
    folder = built[0]
    wrong = {}
    for path in folder.glob(f"lambda_*-{space}.npy"):
        after = np.load(folder / f"{path.stem}-{layout}-after.npy")
        if not (gap := difference(np.load(path), after)) < 1e-5:
            wrong[path.stem] = gap
    assert not wrong
    assert len(list(folder.glob(f"lambda_*-{space}.npy"))) > 20


def test_no_lambda_and_no_channels_first_layer_remains(built: Any) -> None:
    facts = {name: fact for name, fact in built[1].items() if name != "unsupported"}
    assert len(facts) > 2 * len(CASES)
    assert not [name for name, fact in facts.items() if "Lambda" in fact["kinds"] or fact["channels_first"]]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("chain", 2),  # at the input and before Flatten
        ("classifier", 1),
        ("residual", 2),  # input and output
        ("squeeze_and_excite", 2),
        ("constants", 2),
        ("prelu", 2),
        ("channel_shuffle", 3),  # and the shuffle itself
        ("grouped_conv", 2),
        ("split", 2),
        ("spatial_mean", 1),
        ("transpose", 1),  # the Source's own Transpose only names another form
        ("instance_of_every_layout", 2),
    ],
)
def test_transpositions_stand_only_where_the_layout_must_change(built: Any, case: str, expected: int) -> None:
    assert built[1][f"{case}-unequal-nchw"]["kinds"].count("Permute") == expected


def test_an_nhwc_input_is_used_directly(built: Any) -> None:
    fact = built[1]["classifier-unequal-nhwc"]
    assert fact["inputs"] == [[None, *SPACES["unequal"], CHANNELS]]
    assert "Permute" not in fact["kinds"]


def test_a_grouped_convolution_becomes_one_layer_that_keeps_its_name(built: Any) -> None:
    fact = built[1]["grouped_conv-unequal-nchw"]
    assert fact["kinds"].count("Conv2D") == 1
    assert fact["names"] == ["x", "x_nhwc", "LAYER_0_pad", "LAYER_0", "LAYER_0_nchw"]


def test_shared_layers_nested_models_and_several_outputs_survive(built: Any) -> None:
    total = np.load(built[0] / "many-2-after.npy")
    left, right = weights(BATCH, 6, 5, 4), weights(BATCH, 6, 5, 4) * 2
    kernel, bias = weights(3, 3, 6, 6), weights(6)

    def convolve(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        result: np.ndarray[Any, Any] = np.einsum("nchwij,ijco->nohw", windows, kernel) + bias[:, None, None]
        return result

    flat = np.load(built[0] / "many-1-after.npy").reshape(BATCH, 6, 5, 4)
    positive = convolve(right) > 0
    assert np.allclose(flat[positive], convolve(right)[positive], atol=1e-4)
    assert difference((convolve(left) + flat + left) / 3, total) < 1e-5
    assert difference(total.max(1) + 1, np.load(built[0] / "many-0-after.npy")) < 1e-5
    assert built[1]["many"]["kinds"].count("Conv2D") == 1
    assert len(set(built[1]["many"]["names"])) == len(built[1]["many"]["names"])


def test_an_operation_without_equivalent_is_refused_by_name(built: Any) -> None:
    assert built[1]["unsupported"] == {
        "message": "Lgamma in odd has no Keras equivalent here",
        "op_type": "Lgamma",
        "layer_name": "odd",
    }


def test_tflite_and_saved_model_can_be_written_from_the_loaded_file(built: Any) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    for stem in ("grouped_conv-unequal-nchw", "lambda_lrn-unequal-nchw"):
        runner = interpreter.Interpreter(model_path=str(built[0] / f"{stem}.tflite"))
        (entry,), (result,) = runner.get_input_details(), runner.get_output_details()
        runner.resize_tensor_input(entry["index"], (BATCH, CHANNELS, *SPACES["unequal"]))
        runner.allocate_tensors()
        runner.set_tensor(entry["index"], images("unequal"))
        runner.invoke()
        after = np.load(built[0] / f"{stem}-after.npy")
        assert difference(after, runner.get_tensor(result["index"])) < 1e-5
    assert (built[0] / "saved" / "saved_model.pb").exists()
