"""Images prepared otherwise by a deployment (PP), and inputs of other dimensions (ID): found, named, put right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safeconvert.repair.graph.input_shapes import followed
from safeconvert.repair.strategies.input_changes import input_changes
from safeconvert.repair.strategies.preprocessing import change, differing

from safeconvert.checking.evaluation_set import ImageInput
from safeconvert.errors import BadInput
from safeconvert.formats import TFLITE, TORCH
from safeconvert.inputs.preprocess import Preprocess
from safeconvert.options import Options
from safeconvert.records import TensorSpec
from tests.support.command import made_by, safeconvert
from tests.support.pool_nets import net

HEIGHT, WIDTH = 12, 9
RIGHT = Preprocess("right", "stretch", "none", "bilinear", 1 / 255, (0.45, 0.5, 0.55), (0.25, 0.3, 0.2))
DEPLOYED = replace(
    RIGHT, name="deployed", scale=1.0, mean=(104.0, 117.0, 124.0), std=(57.0, 58.0, 59.0), channel_order="bgr"
)
OTHER_SIZE = replace(RIGHT, name="nearest", interpolation="nearest")
IMAGE = ImageInput("x", HEIGHT, WIDTH, 3, "nchw", "float32")

KERAS = """
import keras
keras.utils.set_random_seed(1)
layers = keras.layers
stem, pool, head = layers.Conv2D(6, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(5)
source, turned = keras.Input((12, 9, 3), name="image"), keras.Input((9, 12, 3), name="image")
keras.Model(source, head(pool(stem(source)))).save("source.keras")
keras.Model(turned, head(pool(stem(layers.Permute((2, 1, 3))(turned))))).save("turned.keras")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, preprocessings, and ``source.onnx``."""
    path = tmp_path_factory.mktemp("preparing")
    (path / "pictures").mkdir()
    for number in range(12):
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, (4, 3, 3), np.uint8)
        Image.fromarray(coarse).resize((20, 24)).save(path / "pictures" / f"{number:02d}.png")
    for preprocess in (RIGHT, DEPLOYED, OTHER_SIZE):
        (path / f"{preprocess.name}.json").write_text(json.dumps(preprocess.to_json()))
    onnx.save(source(), path / "source.onnx")
    return path


@pytest.fixture(scope="module")
def keras_folder(folder: Path) -> Path:
    """The same, with ``source.keras`` and ``turned.keras``."""
    return made_by(KERAS, folder)


def source() -> onnx.ModelProto:
    return net(helper.make_node("Relu", ["c"], ["m"], "relu"))


def sized(model: onnx.ModelProto, sizes: Sequence[int]) -> onnx.ModelProto:
    """The model with other sizes declared behind the batch."""
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim[1:], sizes, strict=True):
        dim.dim_value = size
    return model


def before_all(model: onnx.ModelProto, *nodes: onnx.NodeProto, constants: Sequence[Any] = ()) -> onnx.ModelProto:
    """The model with nodes from ``x`` to ``prepared`` put before its convolution."""
    for node in model.graph.node:
        node.input[:] = ["prepared" if name == "x" else name for name in node.input]
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])
    model.graph.initializer.extend(constants)
    return model


def repaired(folder: Path, target: str, *more: str, start: str = "source.onnx", code: int = 0) -> dict[str, Any]:
    """The report of ``repair``; the Target stands at ``fixed`` with the suffix of the one given."""
    fixed = "fixed" + Path(target).suffix
    images = ("--images", "pictures", "--preprocess", "right.json")
    done = safeconvert("repair", start, target, "-o", fixed, "--force", *images, *more, "--json", folder=folder)
    assert done.code == code, done.err or done.out
    report: dict[str, Any] = json.loads(done.out)
    assert report["verdict"] == ("repaired" if code == 0 else "diverged")
    return report


def contract(folder: Path, fixed: str) -> Preprocess:
    return Preprocess.from_json(json.loads((folder / f"{fixed}.input.json").read_text()))


def values(folder: Path, preprocess: Preprocess) -> Any:
    pictures = sorted((folder / "pictures").iterdir())
    pixels = [preprocess.pixels(Image.open(path), HEIGHT, WIDTH, 3) for path in pictures]
    return np.ascontiguousarray(preprocess.values(np.stack(pixels)).transpose(0, 3, 1, 2))


def outputs(path: Path, array: Any) -> Any:
    return onnxruntime.InferenceSession(path).run(None, {"x": array})[0]


# --- PP


def test_deployment_that_prepares_otherwise_is_named_and_the_contract_corrected(folder: Path) -> None:
    shutil.copy(folder / "source.onnx", folder / "target.onnx")
    report = repaired(folder, "target.onnx", "--target-preprocess", "deployed.json")
    (fault,) = report["faults"]
    assert (fault["type"], fault["source_node"], fault["target_node"]) == ("PP", "x", "x")
    assert set(fault["evidence"]["differs"]) == {"channel_order", "scale", "mean", "std"}
    assert fault["evidence"]["differs"]["channel_order"] == {"deployed": "bgr", "source": "rgb"}
    assert fault["evidence"]["matters_first"] == ["channel_order"]
    assert fault["percent_before"] > 0
    assert fault["percent_after"] == 0
    assert report["check"]["before"]["calibration"]["labels_differ"] > 0
    assert (folder / "fixed.onnx").read_bytes() == (folder / "target.onnx").read_bytes()
    written_contract = contract(folder, "fixed.onnx")
    assert (written_contract.scale, written_contract.mean, written_contract.std, written_contract.channel_order) == (
        RIGHT.scale,
        RIGHT.mean,
        RIGHT.std,
        "rgb",
    )


def test_deployment_is_built_into_the_target_where_that_is_asked_for(folder: Path) -> None:
    shutil.copy(folder / "source.onnx", folder / "target.onnx")
    report = repaired(folder, "target.onnx", "--target-preprocess", "deployed.json", "--embed-preprocessing")
    assert [fault["type"] for fault in report["faults"]] == ["PP"]
    assert contract(folder, "fixed.onnx").channel_order == "bgr"
    expected = outputs(folder / "source.onnx", values(folder, RIGHT))
    actual = outputs(folder / "fixed.onnx", values(folder, DEPLOYED))
    assert np.abs(expected - actual).max() < 1e-4


def test_keras_target_with_the_deployment_built_in_is_a_keras_model(keras_folder: Path) -> None:
    shutil.copy(keras_folder / "source.keras", keras_folder / "target.keras")
    more = ("--target-preprocess", "deployed.json", "--embed-preprocessing")
    report = repaired(keras_folder, "target.keras", *more, start="source.keras")
    assert [fault["type"] for fault in report["faults"]] == ["PP"]
    assert report["target"]["format"] == "keras"
    assert contract(keras_folder, "fixed.keras").scale == 1.0


def test_converted_target_takes_what_the_deployment_prepares(folder: Path) -> None:
    arguments = ("--preprocess", "right.json", "--target-preprocess", "deployed.json", "--embed-preprocessing")
    done = safeconvert(
        "onnx2tflite", "source.onnx", "-o", "built.tflite", "--images", "pictures", *arguments, "--json", folder=folder
    )
    assert done.code == 0, done.err or done.out
    report = json.loads(done.out)
    assert report["verdict"] == "verified"
    assert any("built into the Target: channels reversed" in note for note in report["notes"])
    assert contract(folder, "built.tflite").channel_order == "bgr"


def test_both_are_named_where_deployment_and_model_are_at_fault(folder: Path) -> None:
    model = source()
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b")
    bias.CopyFrom(numpy_helper.from_array(np.linspace(-3, 3, 6, dtype=np.float32), "b"))
    onnx.save(model, folder / "target.onnx")
    report = repaired(folder, "target.onnx", "--target-preprocess", "deployed.json")
    assert [fault["type"] for fault in report["faults"]] == ["PP", "WB"]
    assert {fault["status"] for fault in report["faults"]} == {"repaired"}
    assert contract(folder, "fixed.onnx").channel_order == "rgb"


def test_fault_of_a_deployment_is_left_with_no_repair(folder: Path) -> None:
    shutil.copy(folder / "source.onnx", folder / "target.onnx")
    report = repaired(folder, "target.onnx", "--target-preprocess", "deployed.json", "--no-repair", code=1)
    assert [(fault["type"], fault["status"]) for fault in report["faults"]] == [("PP", "unrepaired")]
    assert not (folder / "fixed.onnx").exists()


def test_preparing_built_into_a_target_is_taken_out(folder: Path) -> None:
    random = np.random.default_rng(0)
    shape = (1, 3, 1, 1)
    constants = [
        numpy_helper.from_array(random.uniform(1.5, 3, shape).astype(np.float32), "by"),
        numpy_helper.from_array(random.uniform(0.5, 1, shape).astype(np.float32), "plus"),
    ]
    nodes = (
        helper.make_node("Mul", ["x", "by"], ["scaled"], "rescale"),
        helper.make_node("Add", ["scaled", "plus"], ["prepared"], "shift"),
    )
    onnx.save(before_all(source(), *nodes, constants=constants), folder / "target.onnx")
    report = repaired(folder, "target.onnx")
    assert [(fault["type"], fault["target_node"]) for fault in report["faults"]] == [("PP", "rescale")]


def test_what_two_preprocessings_do_otherwise_is_told_by_their_effect() -> None:
    same = replace(RIGHT, scale=1.0, mean=tuple(255 * m for m in RIGHT.mean), std=tuple(255 * s for s in RIGHT.std))
    assert differing(RIGHT, same, IMAGE) == {}
    turned = replace(RIGHT, channel_order="bgr", mean=RIGHT.mean[::-1], std=RIGHT.std[::-1])
    assert differing(RIGHT, turned, IMAGE) == {"channel_order": ("channel_order",)}
    pixels = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)
    for deployed in (same, turned, DEPLOYED):
        difference = change(RIGHT, deployed, IMAGE)
        right, wrong = RIGHT.values(pixels), deployed.values(pixels)
        laid = wrong[..., ::-1] if difference.turn else wrong
        assert np.abs(laid * difference.factor + difference.offset - right).max() < 1e-5
        assert np.abs(difference.undone(right, 3) - wrong).max() < 1e-3


# --- ID


def test_swapped_height_and_width_are_declared_as_the_source_does(folder: Path) -> None:
    turn = helper.make_node("Transpose", ["x"], ["prepared"], "turn", perm=[0, 1, 3, 2])
    onnx.save(sized(before_all(source(), turn), (3, WIDTH, HEIGHT)), folder / "target.onnx")
    report = repaired(folder, "target.onnx")
    (fault,) = report["faults"]
    assert (fault["type"], fault["target_node"]) == ("ID", "x")
    assert fault["evidence"] == {
        "source_shape": [None, 3, HEIGHT, WIDTH],
        "target_shape": [None, 3, WIDTH, HEIGHT],
    }
    fixed = onnx.load(folder / "fixed.onnx")
    assert "Transpose" not in [node.op_type for node in fixed.graph.node]
    assert [d.dim_value for d in fixed.graph.input[0].type.tensor_type.shape.dim[1:]] == [3, HEIGHT, WIDTH]


def test_other_resolution_is_declared_anew_and_sizes_in_the_graph_follow(folder: Path) -> None:
    shaped = (
        helper.make_node("Reshape", ["c", "old"], ["flat"], "flat"),
        helper.make_node("Transpose", ["flat"], ["ahead"], "ahead", perm=[0, 2, 1]),
        helper.make_node("Relu", ["ahead"], ["active"], "active"),
        helper.make_node("Transpose", ["active"], ["back"], "back", perm=[0, 2, 1]),
        helper.make_node("Unsqueeze", ["back", "last"], ["m"], "row"),
    )
    model = sized(net(*shaped), (3, 10, 14))
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 6, 140]), "old"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([3]), "last"))
    onnx.save(model, folder / "target.onnx")
    report = repaired(folder, "target.onnx")
    assert [fault["type"] for fault in report["faults"]] == ["ID"]
    assert report["faults"][0]["evidence"]["target_shape"] == [None, 3, 10, 14]


def test_keras_target_with_swapped_sizes_is_a_keras_model_again(keras_folder: Path) -> None:
    report = repaired(keras_folder, "turned.keras", start="source.keras")
    assert [(fault["type"], fault["target_node"]) for fault in report["faults"]] == [("ID", "image")]
    assert report["target"]["format"] == "keras"
    assert report["target"]["inputs"][0]["shape"][1:] == [HEIGHT, WIDTH, 3]


def test_missing_batch_is_declared(folder: Path) -> None:
    model = before_all(source(), helper.make_node("Unsqueeze", ["x", "zero"], ["prepared"], "batched"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero"))
    model.graph.node[-1].output[0] = "whole"
    model.graph.node.append(helper.make_node("Squeeze", ["whole", "zero"], ["y"], "alone"))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, HEIGHT, WIDTH]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [5]))
    onnx.save(model, folder / "target.onnx")
    report = repaired(folder, "target.onnx")
    assert [fault["type"] for fault in report["faults"]] == ["ID"]


def test_target_for_another_number_of_channels_is_no_version_of_the_source(folder: Path) -> None:
    onnx.save(sized(source(), (3, HEIGHT, WIDTH)), folder / "right.onnx")
    grey = sized(source(), (1, HEIGHT, WIDTH))
    weights = next(tensor for tensor in grey.graph.initializer if tensor.name == "w")
    weights.CopyFrom(numpy_helper.from_array(np.ones((6, 1, 3, 3), np.float32), "w"))
    onnx.save(grey, folder / "target.onnx")
    report = repaired(folder, "target.onnx", code=1)
    assert [(fault["type"], fault["status"]) for fault in report["faults"]] == [("ID", "unrepaired")]


def test_batch_of_one_is_no_fault(folder: Path) -> None:
    model = source()
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, folder / "target.onnx")
    images = ("--images", "pictures", "--preprocess", "right.json")
    arguments = ("repair", "source.onnx", "target.onnx", "-o", "fixed.onnx", "--force", *images, "--json")
    report = json.loads(safeconvert(*arguments, folder=folder).out)
    assert (report["verdict"], report["faults"]) == ("verified", [])


def test_ways_keep_the_layout_of_the_target() -> None:
    changes = [
        (change.declared, change.axes)
        for change in input_changes((None, 3, 24, 32), TORCH, TensorSpec("x", (1, 32, 24, 3), "f4"), TFLITE)
    ]
    assert changes[0] == ((1, 24, 32, 3), (0, 2, 1, 3))
    assert changes[-1][1] is None


@pytest.mark.parametrize(
    ("was", "out", "new", "wanted"),
    [
        ((16, 6, 4), (384,), (16, 12, 8), [1536]),
        ((16, 6, 4), (16, 24), (16, 12, 8), [16, 96]),
        ((16, 1, 1), (16,), (16, 1, 1), [16]),
        ((16, 6, 4), (4, 4, 6, 4), (16, 12, 8), [4, 4, 12, 8]),
        ((24,), (6, 4), (96,), None),
    ],
)
def test_reshaped_sizes_follow(was: Any, out: Any, new: Any, wanted: Any) -> None:
    assert followed(was, out, new) == wanted


# --- bad use


def test_embedding_needs_a_deployment() -> None:
    with pytest.raises(BadInput, match="builds in what --target-preprocess does"):
        Options(embed_preprocessing=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("repair", "source.onnx", "source.onnx", "-o", "f.onnx", "--embed-preprocessing"), "Give both"),
        (("check", "source.onnx", "source.onnx", "--embed-preprocessing"), "No such option"),
    ],
)
def test_bad_use_is_told_in_a_line(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = safeconvert(*arguments, folder=folder)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_resizing_cannot_be_built_in(folder: Path) -> None:
    shutil.copy(folder / "source.onnx", folder / "target.onnx")
    images = ("--images", "pictures", "--preprocess", "right.json", "--target-preprocess", "nearest.json")
    arguments = ("repair", "source.onnx", "target.onnx", "-o", "f.onnx", "--embed-preprocessing", *images)
    done = safeconvert(*arguments, folder=folder)
    assert done.code == 2
    assert "cannot make up for interpolation nearest instead of bilinear" in done.err
    assert len(done.err.strip().splitlines()) == 2
