"""What a model computes inside, and what it was trained to, in every framework; and nothing is changed by asking."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safeconvert.errors import CallRaised
from safeconvert.records import LoadOptions
from safeconvert.runtimes.trace_store import TraceRecord
from safeconvert.workers.pool import Worker, WorkerPool
from safeconvert.workers.runtime import LITERT, PYTORCH, TENSORFLOW
from safeconvert.workers.runtime_functions import RUN
from tests.support.command import made_by

Array = np.ndarray[Any, Any]

TORCH = """
import torch

class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.depthwise = torch.nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.norm = torch.nn.BatchNorm2d(4)
        self.slope = torch.nn.PReLU(4)
        self.register_buffer("offset", torch.randn(4, 1, 1), persistent=False)
    def forward(self, x):
        left, right = self.slope(self.norm(self.depthwise(x)) + self.offset).chunk(2, 1)
        return torch.cat([left * x.shape[1], right], 1)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.act = torch.nn.ReLU(inplace=True)
        self.block = Block()
        self.head = torch.nn.Linear(4, 5)
    def forward(self, x):
        x = self.block(self.block(self.act(self.conv(x))))
        if FORKED and x.sum() > -1e9:
            x = x * 2.0
        return self.head(x.mean((2, 3)))

"""
MADE_TORCH = """
import sys, torch
sys.path.insert(0, ".")
for name, forked in (("plain", False), ("forked", True)):
    open(f"{name}_nets.py", "w").write(f"FORKED = {forked}\\n" + SOURCE)
import plain_nets, forked_nets
for name, nets in (("plain", plain_nets), ("forked", forked_nets)):
    torch.manual_seed(0)
    net = nets.Net().eval()
    net.block.norm.running_mean.normal_()
    net.block.norm.running_var.uniform_(0.5, 2)
    torch.save(net, f"{name}.pt")
    if name == "plain":
        batch = torch.export.Dim("batch")
        given = (torch.zeros(2, 3, 8, 8),)
        torch.export.save(torch.export.export(net, given, dynamic_shapes=({0: batch},)), "free.pt2")
        torch.export.save(torch.export.export(net, given), "two.pt2")
        twice = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4)).eval()
        twice[2].weight = twice[0].weight
        torch.export.save(torch.export.export(twice, (torch.zeros(3, 4),)), "tied.pt2")
        torch.jit.trace(net, torch.zeros(1, 3, 8, 8)).save("scripted.pt")
"""

KERAS = """
import keras, numpy as np, tensorflow as tf
keras.utils.set_random_seed(0)
layers = keras.layers
first = layers.DepthwiseConv2D(3, padding="same", name="conv2d_1")
inner = keras.Sequential([keras.Input((6, 6, 4)), first, layers.BatchNormalization(name="bn")], name="inner")
inputs = keras.Input((8, 8, 3), name="image")
x = layers.PReLU(shared_axes=[1, 2], name="slope")(layers.Conv2D(4, 3, activation="relu", name="conv2d")(inputs))
x = layers.GlobalAveragePooling2D()(inner(inner(x)))
model = keras.Model(inputs, [layers.Dense(5, name="labels")(x), layers.Dense(5, name="box")(x)])
model.set_weights([w + np.random.uniform(0.1, 0.5, w.shape) for w in model.get_weights()])
model.save("nested.keras")
model.export("saved", format="tf_saved_model", verbose=False)
converter = tf.lite.TFLiteConverter.from_saved_model("saved")
open("float.tflite", "wb").write(converter.convert())
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.target_spec.supported_types = [tf.float16]
open("half.tflite", "wb").write(converter.convert())
whole = tf.lite.TFLiteConverter.from_saved_model("saved")
whole.optimizations = [tf.lite.Optimize.DEFAULT]
whole.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
whole.inference_input_type = whole.inference_output_type = tf.uint8
images = np.random.default_rng(1).uniform(-5, 5, (50, 1, 8, 8, 3)).astype("float32")
whole.representative_dataset = lambda: ([image] for image in images)
open("integers.tflite", "wb").write(whole.convert())
module = tf.Module()
kernel = np.random.normal(size=(3, 5)).astype("float32")
@tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])
def frozen(x):
    return {"y": tf.nn.relu(tf.matmul(x, tf.constant(kernel, name="kernel"))) + tf.constant(kernel[0], name="shift")}
module.frozen = frozen
tf.saved_model.save(module, "frozen", signatures=frozen)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models of FLAVOURS."""
    folder = tmp_path_factory.mktemp("layers")
    with ThreadPoolExecutor() as pool:
        list(pool.map(made_by, (f"SOURCE = {TORCH!r}\n{MADE_TORCH}", KERAS), (folder, folder)))
    return folder


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerPool]:
    with WorkerPool() as pool:
        yield pool


RUNTIMES = {runtime.worker: runtime for runtime in (PYTORCH, TENSORFLOW, LITERT)}
FLAVOURS = {
    "free.pt2": ("torch", "pt2"), "two.pt2": ("torch", "pt2"), "scripted.pt": ("torch", "torchscript"),
    "plain.pt": ("torch", "module"), "forked.pt": ("torch", "module"), "nested.keras": ("tensorflow", "keras"),
    "saved": ("tensorflow", "savedmodel"), "frozen": ("tensorflow", "savedmodel"),
    "half.tflite": ("onnx_tflite", "tflite"), "integers.tflite": ("onnx_tflite", "tflite"),
    "float.tflite": ("onnx_tflite", "tflite"),
}  # fmt: skip

# How precisely a file keeps numbers around 5, and gives outputs.
KEPT = {"half.tflite": 5e-3, "integers.tflite": 0.05}
GIVEN = {"integers.tflite": 0.4}
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-3, 3, size=(3, 8, 8, 3)).astype("float32")


class Model:
    """A model loaded in a child; ``fresh`` children have never seen another model that is not fresh."""

    def __init__(self, workers: WorkerPool, path: Path, framework: str, flavour: str, fresh: bool = False) -> None:
        self.framework, self.path, self.file, self.workers = framework, str(path), path.name, workers
        self.worker: Worker = workers.worker(f"{framework}{fresh}", framework)
        self.runtime, options = RUNTIMES[framework], LoadOptions()
        if flavour in ("module", "torchscript"):
            options = LoadOptions({"": [1, 3, 8, 8]}, import_folder=str(path.parent), is_trusted=flavour == "module")
        signature = self.runtime.load(self.worker, None, path=self.path, flavour=flavour, options=options)
        shape = signature.inputs[0].shape
        assert shape is not None
        self.name, self.batch = signature.inputs[0].name, shape[0]
        if framework == "torch":
            self.x = IMAGES.transpose(0, 3, 1, 2)
        elif shape[1:] == (8, 8, 3):
            self.x = IMAGES
        else:
            self.x = RNG.normal(size=(3, *shape[1:])).astype("float32")

    def run(self, x: Array | None = None) -> list[Array]:
        arrays = {self.name: self.x if x is None else x}
        return RUN(self.worker, None, path=self.path, arrays=arrays).outputs

    def trace(self) -> tuple[list[TraceRecord], list[Array]]:
        store = self.workers.scratch("arrays")
        assert self.runtime.trace is not None
        arrays = {self.name: self.x}
        records = self.runtime.trace(self.worker, None, path=self.path, arrays=arrays, store=str(store))
        values = stored(store, [record.key for record in records])
        assert [record.shape for record in records] == [value.shape for value in values]
        names = [record.tensor for record in records]
        assert len(set(names)) == len(names)
        for place, record in enumerate(records):
            assert set(record.inputs) <= set(names[:place])
            assert bool(record.inputs) == (record.operator != "input")
        return records, values

    def parameters(self) -> dict[str, Array]:
        store = self.workers.scratch("arrays")
        assert self.runtime.read_parameters is not None
        records = self.runtime.read_parameters(self.worker, None, path=self.path, store=str(store))
        values = stored(store, [record.key for record in records])
        assert [record.shape for record in records] == [value.shape for value in values]
        parameters = {record.name: value for record, value in zip(records, values, strict=True)}
        assert len(parameters) == len(records)
        return parameters

    def replaced(self, values: dict[str, Array]) -> Model:
        """The model with those parameters, from its file, in another child."""
        target = self.workers.scratch(f"changed{Path(self.path).suffix}")
        assert self.runtime.replace_parameters is not None
        flavour = self.runtime.replace_parameters(self.worker, None, path=self.path, target=str(target), values=values)
        if flavour == "module":
            for file in Path(self.path).parent.glob("*_nets.py"):
                (target.parent / file.name).write_bytes(file.read_bytes())
        return Model(self.workers, target, self.framework, flavour, fresh=True)


def stored(store: Path, keys: list[str]) -> list[Array]:
    """The arrays of the store, which has these keys and no others, in their order."""
    with np.load(store) as arrays:
        assert keys == arrays.files
        values = [arrays[key] for key in keys]
    assert all(value.dtype == np.float32 for value in values)
    return values


@pytest.fixture(params=FLAVOURS)
def model(request: pytest.FixtureRequest, workers: WorkerPool, models: Path) -> Model:
    return Model(workers, models / request.param, *FLAVOURS[request.param])


def same(first: list[Array], other: list[Array]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def convolved(x: Array, kernel: Array, bias: Array) -> Array:
    """A convolution without padding by hand: ``x`` is NHWC, ``kernel`` HWIO."""
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(float), kernel.shape[:2], axis=(1, 2))
    return np.einsum("nyxchw,hwco->nyxo", windows, kernel) + bias


def test_the_trace_holds_inputs_and_outputs_and_changes_nothing(model: Model) -> None:
    before, known = model.run(), model.parameters()
    records, values = model.trace()
    assert records[0].operator == "input"
    np.testing.assert_allclose(values[0], model.x, atol=KEPT.get(model.file, 0))
    for output in before:
        fitting = [v for v in values if v.shape == output.shape and np.allclose(v, output, rtol=1e-5, atol=1e-6)]
        assert fitting
        assert not any(np.allclose(v, output * 1.01, rtol=1e-5, atol=1e-6) for v in fitting)
    assert any(np.allclose(values[-1], output, rtol=1e-5, atol=1e-6) for output in before)
    assert same(model.run(), before)
    assert same(list(model.parameters().values()), list(known.values()))


def test_one_changed_parameter_changes_what_depends_on_it_and_no_other(model: Model) -> None:
    before, known = model.run(), model.parameters()
    name = [name for name, value in known.items() if value.shape == (5,)][-1]
    steps = RNG.uniform(5, 6, 5).astype("float32")
    other = model.replaced({name: known[name] + steps})
    changed = other.parameters()
    assert set(changed) == set(known)
    np.testing.assert_allclose(changed[name], known[name] + steps, atol=KEPT.get(model.file, 1e-6))
    steps = changed.pop(name) - known[name]
    assert all(np.array_equal(changed[n], known[n]) for n in changed)
    after = other.run(model.x)
    near = GIVEN.get(model.file, 1e-4)
    assert sum(np.allclose(a, b + steps, rtol=0, atol=near) for a, b in zip(after, before, strict=True)) == 1
    assert sum(np.array_equal(a, b) for a, b in zip(after, before, strict=True)) == len(after) - 1
    assert other.batch == model.batch
    assert same(model.run(), before)
    assert same(list(model.parameters().values()), list(known.values()))


def first_kernel(model: Model, known: dict[str, Array]) -> tuple[str, tuple[int, ...], str]:
    """The first convolution's kernel, the axes that make it HWIO, and its bias."""
    if model.framework == "torch":
        return "conv.weight", (2, 3, 1, 0), "conv.bias"
    if model.framework == "tensorflow":
        return "conv2d/kernel", (0, 1, 2, 3), "conv2d/bias"
    kernel = next(name for name, value in known.items() if value.shape == (4, 3, 3, 3))
    return kernel, (1, 2, 3, 0), next(name for name in known if ";" in name)


@pytest.mark.parametrize("file", sorted({*FLAVOURS} - {"frozen"}))
def test_intermediate_tensors_are_what_the_weights_make_of_the_input(
    workers: WorkerPool, models: Path, file: str
) -> None:
    model = Model(workers, models / file, *FLAVOURS[file])
    known = model.parameters()
    kernel, axes, bias = first_kernel(model, known)
    other = model.replaced({kernel: known[kernel][::-1] * 0.9})
    for at, weights in ((model, known), (other, other.parameters())):
        records, values = at.trace()
        relu = next(i for i, r in enumerate(records) if r.operator in ("aten.relu_.default", "Relu", "CONV_2D"))
        read = records[relu].inputs
        while read != (records[0].tensor,):
            (read,) = [r.inputs for r in records if r.tensor in read]
        activated = values[relu].transpose(0, 2, 3, 1) if model.framework == "torch" else values[relu]
        hand = np.maximum(convolved(IMAGES, weights[kernel].transpose(axes), weights[bias]), 0)
        near = 0.2 if file == "integers.tflite" else 1e-5
        np.testing.assert_allclose(activated, hand, rtol=1e-5, atol=near)
        wrong = known if at is other else other.parameters()
        assert not np.allclose(
            activated, np.maximum(convolved(IMAGES, wrong[kernel].transpose(axes), wrong[bias]), 0), atol=near
        )


def summary(records: list[TraceRecord]) -> list[tuple[str, str, str, list[str]]]:
    """Node, layer, operator and the nodes read."""
    nodes = {record.tensor: record.node for record in records}
    return [(r.node, r.layer, r.operator, [nodes[name] for name in r.inputs]) for r in records]


def test_torch_nodes_have_the_names_of_the_graph_and_the_paths_of_their_modules(
    workers: WorkerPool, models: Path
) -> None:
    for file in ("free.pt2", "plain.pt"):
        records, _ = Model(workers, models / file, *FLAVOURS[file]).trace()
        assert summary(records)[:12] == [
            ("x", "", "input", []),
            ("conv2d", "conv", "aten.conv2d.default", ["x"]),
            ("relu_", "act", "aten.relu_.default", ["conv2d"]),
            ("conv2d_1", "block.depthwise", "aten.conv2d.default", ["relu_"]),
            ("batch_norm", "block.norm", "aten.batch_norm.default", ["conv2d_1"]),
            ("add", "block", "aten.add.Tensor", ["batch_norm"]),
            ("prelu", "block.slope", "aten.prelu.default", ["add"]),
            ("getitem", "block", "aten.chunk.default", ["prelu"]),
            ("getitem_1", "block", "aten.chunk.default", ["prelu"]),
            ("mul", "block", "aten.mul.Tensor", ["getitem"]),
            ("cat", "block", "aten.cat.default", ["mul", "getitem_1"]),
            ("conv2d_2", "block.depthwise", "aten.conv2d.default", ["cat"]),
        ]


def test_torchscript_and_code_that_cannot_be_exported_are_listened_to(workers: WorkerPool, models: Path) -> None:
    for file, convolution in (("scripted.pt", "_convolution"), ("forked.pt", "convolution")):
        records, _ = Model(workers, models / file, *FLAVOURS[file]).trace()
        assert summary(records)[:5] == [
            ("x", "", "input", []),
            (convolution, "conv", f"aten.{convolution}.default", ["x"]),
            ("relu_", "", "aten.relu_.default", [convolution]),
            (f"{convolution}_1", "block.depthwise", f"aten.{convolution}.default", ["relu_"]),
            ("native_batch_norm", "block.norm", "aten.native_batch_norm.default", [f"{convolution}_1"]),
        ]


def test_keras_operations_have_the_names_of_their_layers_however_often_these_are_called(
    workers: WorkerPool, models: Path
) -> None:
    records, _ = Model(workers, models / "nested.keras", *FLAVOURS["nested.keras"]).trace()
    layers = [(layer, kind) for _, layer, kind, _ in summary(records)]
    inner = [
        ("inner/conv2d_1", "DepthwiseConv2dNative"), ("inner/conv2d_1", "BiasAdd"),
        ("inner/bn", "Mul"), ("inner/bn", "AddV2"),
    ]  # fmt: skip
    assert layers == [
        ("", "input"), ("conv2d", "Conv2D"), ("conv2d", "BiasAdd"), ("conv2d", "Relu"),
        ("slope", "Relu"), ("slope", "Neg"), ("slope", "Relu"), ("slope", "Mul"), ("slope", "AddV2"), *inner, *inner,
        ("global_average_pooling2d", "Mean"),
        ("labels", "MatMul"), ("labels", "BiasAdd"), ("", "Identity"),
        ("box", "MatMul"), ("box", "BiasAdd"), ("", "Identity"),
    ]  # fmt: skip
    slope = [record.tensor for record in records if record.layer == "slope"]
    assert records[8].inputs == (
        slope[0],
        slope[3],
    )
    assert records[0].node == "image"


def test_a_savedmodels_operations_have_their_names_without_the_calls_around_them(
    workers: WorkerPool, models: Path
) -> None:
    records, _ = Model(workers, models / "saved", *FLAVOURS["saved"]).trace()
    first = next(record for record in records if record.operator == "Conv2D")
    assert first.node.startswith("functional_1")
    assert first.node == first.layer + "/convolution"
    assert first.inputs == ("image:0",)


def test_tflite_operators_are_the_files(workers: WorkerPool, models: Path) -> None:
    records, _ = Model(workers, models / "half.tflite", *FLAVOURS["half.tflite"]).trace()
    assert [r.operator for r in records] == [
        "input", "CONV_2D", "NEG", "RELU", "MUL", "ADD", "DEPTHWISE_CONV_2D", "DEPTHWISE_CONV_2D", "MEAN",
        "FULLY_CONNECTED", "FULLY_CONNECTED",
    ]  # fmt: skip
    assert records[5].inputs == (
        records[1].tensor,
        records[4].tensor,
    )
    assert records[4].layer.endswith("slope_1")


def test_every_trained_array_is_there(workers: WorkerPool, models: Path) -> None:
    torch = {
        "conv.weight", "conv.bias", "block.depthwise.weight", "block.norm.weight", "block.norm.bias",
        "block.norm.running_mean", "block.norm.running_var", "block.slope.weight", "block.offset",
        "head.weight", "head.bias",
    }  # fmt: skip
    keras = {
        "conv2d/kernel", "conv2d/bias", "slope/alpha", "conv2d_1/kernel", "conv2d_1/bias", "bn/gamma", "bn/beta",
        "bn/moving_mean", "bn/moving_variance", "labels/kernel", "labels/bias", "box/kernel", "box/bias",
    }  # fmt: skip
    tflite = sorted([(4, 3, 3, 3), (4,), (1, 1, 4), (1, 3, 3, 4), (4,), (5, 4), (5,), (5, 4), (5,)])
    for file, (framework, flavour) in FLAVOURS.items():
        known = Model(workers, models / file, framework, flavour).parameters()
        if framework == "torch":
            assert set(known) == torch
        elif framework == "onnx_tflite" and file != "integers.tflite":
            assert sorted(value.shape for value in known.values()) == tflite
        elif file == "frozen":
            assert {name: value.shape for name, value in known.items()} == {"kernel": (3, 5), "shift": (5,)}
        elif file in ("nested.keras", "saved"):
            assert {name.removeprefix("inner/") for name in known} == keras
    whole = Model(workers, models / "float.tflite", *FLAVOURS["float.tflite"]).parameters()
    half = Model(workers, models / "half.tflite", *FLAVOURS["half.tflite"]).parameters()
    integers = Model(workers, models / "integers.tflite", *FLAVOURS["integers.tflite"]).parameters()
    for name in (name for name in whole if "MatMul" in name or name.endswith("convolution")):
        np.testing.assert_allclose(half[name], whole[name], atol=1e-3)
        np.testing.assert_allclose(integers[name], whole[name], atol=0.01)
        assert not np.array_equal(integers[name], whole[name])


def test_tflite_constants_that_share_their_bytes_are_told_apart(workers: WorkerPool, models: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    file = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel((models / "float.tflite").read_bytes(), 0))
    tensors = {tensor.name.decode().split("/")[1]: tensor for tensor in file.subgraphs[0].tensors
               if tensor.name.decode().endswith("MatMul")}  # fmt: skip
    tensors["box_1"].buffer = tensors["labels_1"].buffer
    builder = schema.flatbuffers.Builder(1)
    builder.Finish(file.Pack(builder), b"TFL3")
    (models / "shared.tflite").write_bytes(builder.Output())
    model = Model(workers, models / "shared.tflite", "onnx_tflite", "tflite")
    before, known = model.run(), model.parameters()
    labels, box = (next(name for name in known if f"{part}/MatMul" in name) for part in ("labels_1", "box_1"))
    assert np.array_equal(known[labels], known[box])
    other = model.replaced({box: known[box] * 2})
    changed = other.parameters()
    assert np.array_equal(changed[box], known[box] * 2)
    assert all(np.array_equal(changed[name], known[name]) for name in known if name != box)
    moved = [not np.array_equal(a, b) for a, b in zip(other.run(model.x), before, strict=True)]
    assert sorted(moved) == [False, True]


def test_tied_weights_stay_tied_whichever_name_is_given(workers: WorkerPool, models: Path) -> None:
    model = Model(workers, models / "tied.pt2", "torch", "pt2")
    model.x = IMAGES[:, 0, :4, 0]
    known = model.parameters()
    for name in ("0.weight", "2.weight"):
        other = model.replaced({name: known[name] * 2})
        weights = other.parameters()["0.weight"]
        assert np.array_equal(weights, known["0.weight"] * 2)
        assert np.array_equal(weights, other.parameters()["2.weight"])
        hand = np.maximum(model.x @ weights.T + known["0.bias"], 0) @ weights.T + known["2.bias"]
        np.testing.assert_allclose(other.run(model.x)[0], hand, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("file", ["free.pt2", "scripted.pt", "nested.keras", "saved", "frozen", "integers.tflite"])
def test_an_unknown_name_or_another_shape_is_refused(workers: WorkerPool, models: Path, file: str) -> None:
    model = Model(workers, models / file, *FLAVOURS[file])
    before, known = model.run(), model.parameters()
    name = next(iter(known))
    good = {name: known[name] + 1}
    with pytest.raises(CallRaised, match=r"ValueError: no parameter 'nothing'"):
        model.replaced({**good, "nothing": np.zeros(3, "float32")})
    other = list(known)[1]
    with pytest.raises(CallRaised, match=f"ValueError: parameter '{re.escape(other)}' has the shape"):
        model.replaced({**good, other: known[other][None]})
    assert same(model.run(), before)


@pytest.mark.parametrize("file", ["free.pt2", "forked.pt", "nested.keras", "saved", "float.tflite"])
def test_an_input_that_the_model_cannot_take_is_no_empty_trace(workers: WorkerPool, models: Path, file: str) -> None:
    model = Model(workers, models / file, *FLAVOURS[file])
    before, model.x = model.run(), model.x[:, :, :2, :2]
    with pytest.raises(CallRaised):
        model.trace()
    model = Model(workers, models / file, *FLAVOURS[file])
    assert same(model.run(), before)


COUNTED_TORCH = """
import torch
class Counted(torch.nn.Module):
    def forward(self, x):
        whole = (x * 3).to(torch.int32) // 2
        return torch.cat([whole.to(torch.float32) * x, x.new_zeros(x.shape)], 1) / x.shape[2]
net = Counted().eval()
torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 5, 4),)), "counted.pt2")
torch.jit.trace(net, torch.zeros(2, 3, 5, 4)).save("counted.pt")
"""
COUNTED_KERAS = """
import keras, tensorflow as tf
inputs = keras.Input((5, 4, 3), name="image")
x = keras.ops.cast(keras.ops.floor_divide(keras.ops.cast(inputs * 3, "int32"), 2), "float32")
keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)).save("counted.keras")
"""


@pytest.mark.parametrize(
    ("file", "framework", "flavour", "operator"),
    [
        ("counted.pt2", "torch", "pt2", "aten.floor_divide"),
        ("counted.pt", "torch", "torchscript", "aten.floor_divide"),
        ("counted.keras", "tensorflow", "keras", "FloorDiv"),
    ],
)
def test_whole_numbers_are_kept_where_asked_for_and_sizes_never(
    workers: WorkerPool, counted: Path, file: str, framework: str, flavour: str, operator: str
) -> None:
    model = Model(workers, counted / file, framework, flavour)
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 4)).astype("float32")
    x = x if framework == "torch" else x.transpose(0, 2, 3, 1)
    assert model.runtime.trace is not None
    kinds = {}
    for with_integers in (False, True):
        store = workers.scratch("arrays")
        arrays = {model.name: x}
        records = model.runtime.trace(
            model.worker, None, path=model.path, arrays=arrays, store=str(store), with_integers=with_integers
        )
        kinds[with_integers] = {record.operator: record for record in records}
        assert all(record.inputs or record.operator == "input" for record in records)
    assert not any(kind.startswith(operator) for kind in kinds[False])
    (kind,) = [kind for kind in kinds[True] if kind.startswith(operator)]
    with np.load(store) as stored_arrays:
        divided = stored_arrays[kinds[True][kind].key]
    np.testing.assert_array_equal(divided, np.floor_divide((x * 3).astype("int32"), 2))


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models that divide whole numbers."""
    folder = tmp_path_factory.mktemp("counted")
    with ThreadPoolExecutor() as pool:
        list(pool.map(made_by, (COUNTED_TORCH, COUNTED_KERAS), (folder, folder)))
    return folder
