"""Targets are run at every batch that they declare; a Source that contradicts itself is told by its operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from safeconvert.api import check, convert
from safeconvert.checking import batch_sizes, further_checks, interface_notes, source_behaviour
from safeconvert.checking.batch_sizes import BATCH_SIZES, FURTHER_SIZES, NOTHING_COMPARED
from safeconvert.checking.further_check import CheckResult
from safeconvert.checking.further_checks import check_probes
from safeconvert.records import Signature, TensorSpec
from tests.support.command import made_by
from tests.support.unbatched_nets import save

RANDOM = np.random.default_rng(2)
W, B = RANDOM.normal(size=(12, 6)).astype(np.float32), RANDOM.normal(size=6).astype(np.float32)
DENSE = helper.make_node("MatMul", ["x", "w"], ["m"])


def net(
    path: Path, tail: Sequence[onnx.NodeProto] = (), batch: int | str = "n", out: Any = None, **weights: Any
) -> Path:
    """A dense layer; ``tail`` makes ``y`` of its output ``a``."""
    nodes = [DENSE, helper.make_node("Add", ["m", "b"], ["a" if tail else "y"]), *tail]
    return save(path, nodes, {"x": [batch, 12]}, {"y": out or [batch, 6]}, {"w": W, "b": B, **weights})


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=RANDOM.normal(size=(32, 12)).astype(np.float32))
    return tmp_path / "x.npz"


def further(result: Any, name: str) -> Any:
    return next(entry for entry in result.report["check"]["further"] if entry["name"] == name)


def test_a_target_that_is_wrong_at_a_batch_of_1_alone_diverges(
    tmp_path: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = net(tmp_path / "s.onnx")
    squeezed = net(tmp_path / "t.onnx", [helper.make_node("Squeeze", ["a"], ["y"])])
    result = check(source, squeezed, inputs=inputs)
    assert result.verdict.value == "diverged"
    assert "at a batch of 1 output 'y' of the Target has the shape [6]" in result.reasons[0]
    monkeypatch.setattr(further_checks, "FURTHER_CHECKS", (check_probes,))
    monkeypatch.setattr("safeconvert.checking.verdict.FURTHER_CHECKS", (check_probes,))
    assert check(source, squeezed, inputs=inputs).verdict.value == "verified", "nothing else tells"


def rounded_map(path: Path, scale: float | None, tail: Sequence[onnx.NodeProto] = ()) -> Path:
    """A map of 12 classes, as it comes in or rounded to multiples of ``scale``, for ``tail`` as ``r``."""
    nodes = [helper.make_node("Identity", ["x"], ["r"])]
    weights: dict[str, Any] = {"one": np.array([1])} if tail else {}
    if scale is not None:
        weights |= {"scale": np.array(scale, np.float32), "zero": np.array(0, np.int8)}
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["r"]),
        ]
    nodes += tail or [helper.make_node("Identity", ["r"], ["mask_logits"])]
    return save(path, nodes, {"x": ["n", 12, 8, 8]}, {"mask_logits": ["n", 12, 8, 8]}, weights)


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """48 maps of two classes each, and a third at one position, where rounding to 0.1 makes it class 0."""
    x = np.zeros((48, 12, 64), np.float32)
    for row in range(48):
        classes = 1 + np.arange(row, row + 3) % 11
        x[row, classes[0], :32] = x[row, classes[1], 32:63] = 1 + 0.1 * RANDOM.random()
        x[row, classes[2], 63], x[row, 0, 63] = 0.54, 0.46
    np.savez(tmp_path / "maps.npz", x=x.reshape(48, 12, 8, 8))
    return tmp_path / "maps.npz"


def test_a_quantised_map_is_not_judged_anew_on_few_rows_where_the_batch_changes_nothing(
    tmp_path: Path, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = rounded_map(tmp_path / "s.onnx", None), rounded_map(tmp_path / "t.onnx", 0.1)
    assert check(source, target, inputs=maps, own_inputs_only=True).verdict.value == "verified"
    monkeypatch.setattr(batch_sizes, "_gives_the_same", lambda *_: False)
    result = check(source, target, inputs=maps, own_inputs_only=True)
    assert "at a batch of 3" in result.reasons[0]
    assert "mean IoU" in result.reasons[0]


def test_a_quantised_map_that_is_another_one_at_a_batch_of_1_diverges(tmp_path: Path, maps: Path) -> None:
    tail = [
        helper.make_node("Shape", ["r"], ["sizes"], end=1),
        helper.make_node("Equal", ["sizes", "one"], ["single"]),
        helper.make_node("Neg", ["r"], ["negative"]),
        helper.make_node("Where", ["single", "negative", "r"], ["mask_logits"]),
    ]
    source = rounded_map(tmp_path / "s.onnx", None)
    target = rounded_map(tmp_path / "t.onnx", 0.1, tail)
    result = check(source, target, inputs=maps)
    assert result.verdict.value == "diverged"
    assert "at a batch of 1" in result.reasons[0]


def at_even_batches_only(path: Path) -> Path:
    """A net that adds 1 to its output where the batch is odd and above 1."""
    nodes = [
        helper.make_node("Shape", ["a"], ["sizes"], end=1),
        helper.make_node("Mod", ["sizes", "two"], ["odd"]),
        helper.make_node("Greater", ["sizes", "one"], ["several"]),
        helper.make_node("Cast", ["several"], ["s"], to=TensorProto.INT64),
        helper.make_node("Mul", ["odd", "s"], ["shift"]),
        helper.make_node("Cast", ["shift"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["a", "f"], ["y"]),
    ]
    return net(path, nodes, two=np.array([2]), one=np.array([1]))


def test_values_that_are_wrong_at_one_batch_diverge_also_where_the_source_takes_one_input(
    tmp_path: Path, inputs: Path
) -> None:
    wrong = at_even_batches_only(tmp_path / "t.onnx")
    for batch in ("n", 1):
        result = check(net(tmp_path / "s.onnx", batch=batch), wrong, inputs=inputs)
        assert result.verdict.value == "diverged"
        assert "at a batch of 3" in result.reasons[0]


def test_a_healthy_target_is_verified_at_all_sizes(tmp_path: Path, inputs: Path) -> None:
    result = check(net(tmp_path / "s.onnx"), net(tmp_path / "t.onnx"), inputs=inputs)
    assert result.verdict.value == "verified"
    sizes = [*BATCH_SIZES, *FURTHER_SIZES]
    assert further(result, "batches") == CheckResult("batches", "agrees", figures={"sizes": sizes}).to_json()
    assert BATCH_SIZES == (16, 3, 1)
    assert not result.report["notes"]


def at_one_batch(path: Path, size: int, batch: int | str = "n") -> Path:
    """A net that adds 1 to its output where the batch is ``size``."""
    nodes = [
        helper.make_node("Shape", ["a"], ["sizes"], end=1),
        helper.make_node("Equal", ["sizes", "size"], ["is_size"]),
        helper.make_node("Cast", ["is_size"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["a", "f"], ["y"]),
    ]
    return net(path, nodes, batch, size=np.array([size]))


@pytest.mark.parametrize("size", FURTHER_SIZES)
def test_values_that_are_wrong_at_a_usual_batch_alone_diverge(
    size: int, tmp_path: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = net(tmp_path / "s.onnx"), at_one_batch(tmp_path / "t.onnx", size)
    monkeypatch.setattr(batch_sizes, "FURTHER_SECONDS", 60.0)
    assert f"at a batch of {size}" in check(source, target, inputs=inputs).reasons[0]
    monkeypatch.setattr(batch_sizes, "FURTHER_SECONDS", 0.0)
    assert check(source, target, inputs=inputs).verdict.value == "verified", "nothing else tells"


def test_a_target_that_is_fixed_at_another_batch_and_wrong_there_diverges(tmp_path: Path, inputs: Path) -> None:
    source = net(tmp_path / "s.onnx")
    assert check(source, at_one_batch(tmp_path / "t.onnx", 5, 5), inputs=inputs).verdict.value == "diverged"
    assert check(source, at_one_batch(tmp_path / "t.onnx", 6, 5), inputs=inputs).verdict.value == "verified"


def test_a_source_whose_answers_depend_on_the_batch_is_undecided(
    tmp_path: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = [
        helper.make_node("ReduceMean", ["a"], ["mean"], axes=[0]),
        helper.make_node("Mul", ["mean", "share"], ["part"]),
        helper.make_node("Sub", ["a", "part"], ["y"]),
    ]
    source = net(tmp_path / "s.onnx", mixed, share=np.float32(0.05))
    for target in (source, net(tmp_path / "t.onnx")):
        result = check(source, target, inputs=inputs)
        assert result.verdict.value == "undecided"
        assert "when other inputs share its batch" in result.reasons[0]
    monkeypatch.setattr(source_behaviour.SourceBehaviour, "_batch_dependence", lambda *_: None)
    assert check(source, source, inputs=inputs).verdict.value == "diverged", "the Target is blamed"


def test_dropout_in_training_mode_is_not_left_out(tmp_path: Path, inputs: Path) -> None:
    tail = [helper.make_node("Dropout", ["a", "half", "on"], ["d"]), helper.make_node("MatMul", ["d", "v"], ["y"])]
    weights = {"half": np.float32(0.5), "v": np.eye(6, dtype=np.float32)}
    target = net(tmp_path / "t.onnx", tail, on=np.array(True), **weights)
    x = np.load(inputs)["x"]
    first, second = (onnxruntime.InferenceSession(target).run(None, {"x": x})[0] for _ in range(2))
    np.testing.assert_array_equal(first, second, "onnxruntime no longer leaves it out")
    source = net(tmp_path / "s.onnx", tail, on=np.array(False), **weights)
    assert check(source, target, inputs=inputs).verdict.value == "diverged"
    assert check(source, source, inputs=inputs).verdict.value == "verified"


def test_outputs_of_strings_are_compared(tmp_path: Path, inputs: Path) -> None:
    def named(path: Path, words: list[str]) -> Path:
        nodes = [
            DENSE,
            helper.make_node("ArgMax", ["m"], ["index"], axis=1, keepdims=0),
            helper.make_node("Gather", ["words", "index"], ["name"]),
        ]
        weights = {"w": W, "words": np.array(words, object)}
        return save(path, nodes, {"x": ["n", 12]}, {"name": ["n"]}, weights, {"name": TensorProto.STRING})

    words = ["cat", "dog", "cow", "fox", "ant", "bee"]
    source = named(tmp_path / "s.onnx", words)
    assert check(source, named(tmp_path / "t.onnx", words), inputs=inputs).verdict.value == "verified"
    result = check(source, named(tmp_path / "t.onnx", words[::-1]), inputs=inputs)
    assert "ids differ" in result.reasons[0]


def test_a_batch_that_became_fixed_is_a_note(tmp_path: Path, inputs: Path) -> None:
    result = check(net(tmp_path / "s.onnx"), net(tmp_path / "t.onnx", batch=16), inputs=inputs)
    assert result.verdict.value == "verified"
    assert (
        "the batch became fixed: the Target takes batches of 16 only, the Source any number" in result.report["notes"]
    )


def agree_by_value(source: Mapping[str, np.ndarray], target: Mapping[str, np.ndarray]) -> np.ndarray:
    """Judge as a person's own comparator does: a boolean for each input."""
    return np.isclose(source["y"], target["y"], atol=1e-3).all(axis=1)


def test_other_batch_sizes_are_judged_by_the_persons_own_comparator_too(tmp_path: Path, inputs: Path) -> None:
    wrong = at_even_batches_only(tmp_path / "t.onnx")
    result = check(net(tmp_path / "s.onnx"), wrong, inputs=inputs, comparator=agree_by_value)
    assert result.verdict.value == "diverged"
    assert "at a batch of 3" in result.reasons[0]


def test_a_target_for_one_batch_size_is_run_with_it_again(
    tmp_path: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    run_at = batch_sizes._run_at

    def run_with_a_state(target: Any, arrays: Any, size: int) -> Any:
        """Run the Target for real; the second call of a size is off by 1, as that of a model that keeps a state."""
        outputs = run_at(target, arrays, size)
        sizes.append(size)
        return [output + sizes.count(size) - 1 for output in outputs]

    monkeypatch.setattr(batch_sizes, "_run_at", run_with_a_state)
    result = check(net(tmp_path / "s.onnx"), net(tmp_path / "t.onnx", batch=16), inputs=inputs)
    assert sizes == [16, 16]
    assert result.verdict.value == "diverged"
    assert "at a batch of 16" in result.reasons[0]


def test_outputs_without_a_batch_axis_are_not_said_to_agree_at_other_batches(tmp_path: Path, inputs: Path) -> None:
    total = [helper.make_node("ReduceSum", ["a"], ["y"], keepdims=0)]
    files = [net(tmp_path / name, total, out=[]) for name in ("s.onnx", "t.onnx")]
    result = check(*files, inputs=inputs)
    entry = further(result, "batches")
    assert (entry["outcome"], entry["reason"]) == ("not run", NOTHING_COMPARED)


def test_a_target_that_answers_otherwise_when_it_is_asked_again_diverges(tmp_path: Path, inputs: Path) -> None:
    noisy = [
        helper.make_node("RandomUniformLike", ["a"], ["r"], high=0.2, low=-0.2),
        helper.make_node("Add", ["a", "r"], ["y"]),
    ]
    assert check(net(tmp_path / "s.onnx"), net(tmp_path / "t.onnx", noisy), inputs=inputs).verdict.value == "diverged"


@pytest.mark.parametrize("kind", ["random", "dropout"])
def test_a_source_that_contradicts_itself_is_undecided_and_its_operator_is_named(
    tmp_path: Path, inputs: Path, kind: str
) -> None:
    tails = {
        "random": [helper.make_node("RandomNormalLike", ["a"], ["r"]), helper.make_node("Add", ["a", "r"], ["y"])],
        "dropout": [helper.make_node("Dropout", ["a", "half", "on"], ["y"])],
    }
    extra = {"half": np.float32(0.5), "on": np.array(True)} if kind == "dropout" else {}
    result = check(net(tmp_path / "s.onnx", tails[kind], **extra), net(tmp_path / "t.onnx"), inputs=inputs)
    assert result.verdict.value == "undecided"
    named = {"random": "RandomNormalLike", "dropout": "Dropout in training mode"}[kind]
    assert f"({named})" in result.reasons[0]


TRAINING = """
import torch
torch.manual_seed(0)
nn = torch.nn
def save(name, *layers, **more):
    net = nn.Sequential(*layers).train()
    with torch.no_grad():
        net(torch.randn(64, 6) * 3 + 1)
    shapes = ({0: torch.export.Dim("n", min=2, max=64)},)
    torch.export.save(torch.export.export(net, (torch.randn(4, 6),), dynamic_shapes=shapes), name + ".pt2")
save("dropout", nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
save("statistics", nn.Linear(6, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 3))
class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)
    def forward(self, x):
        return {"zeta": self.a(x), "alpha": self.b(x)}
torch.export.save(torch.export.export(Named().eval(), (torch.randn(1, 6),)), "named.pt2")
"""


@pytest.fixture(scope="module")
def torch_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(TRAINING, tmp_path_factory.mktemp("training"))


@pytest.mark.parametrize(("name", "operator"), [("dropout", "aten.dropout"), ("statistics", "aten.batch_norm")])
def test_a_program_exported_in_training_mode_is_told_before_any_converter_is_blamed(
    torch_files: Path, tmp_path: Path, name: str, operator: str
) -> None:
    result = convert(torch_files / f"{name}.pt2", "onnx", output=tmp_path / "m.onnx")
    assert result.verdict.value == "undecided"
    assert f"{operator} in training mode" in result.reasons[0]
    assert "model.eval()" in result.reasons[0]
    assert result.report["route"] == []


def test_the_keys_of_a_dictionary_name_the_outputs_and_their_loss_is_a_note(torch_files: Path, tmp_path: Path) -> None:
    result = convert(torch_files / "named.pt2", "onnx", output=tmp_path / "m.onnx")
    assert result.verdict.value == "verified"
    assert [output["name"] for output in result.report["source"]["outputs"]] == ["zeta", "alpha"]
    output_names = [output["name"] for output in result.report["target"]["outputs"]]
    lost = [note for note in result.report["notes"] if note.startswith("the outputs' names are lost: zeta is")]
    assert lost or output_names == ["zeta", "alpha"]


def specs(**dtypes: str) -> list[TensorSpec]:
    return [TensorSpec(name, (None, 3), dtype) for name, dtype in dtypes.items()]


def test_a_changed_dtype_and_lost_or_swapped_names_are_notes() -> None:
    names, dtypes = interface_notes._names, interface_notes._dtypes
    source = specs(a="float32", b="int64")
    assert names(source, source) == []
    assert names(source, specs(b="int64", a="float32")) == [
        "the outputs come in another order: b, a; the Source's is a, b"
    ]
    assert names(source, specs(output_0="float32", output_1="int64")) == [
        "the outputs' names are lost: a is output_0, b is output_1"
    ]
    assert names(specs(a="float32"), specs(z="float32")) == []
    assert dtypes("output", source, specs(b="int64", a="float32")) == []
    assert dtypes("output", source, specs(a="float32", b="float32")) == [
        "output 'b' is float32 in the Target and int64 in the Source"
    ]


def test_an_input_of_another_dtype_is_a_note() -> None:
    def model(dtype: str) -> Any:
        signature = Signature((TensorSpec("ids", (None, 4), dtype),), tuple(specs(y="float32")))
        return SimpleNamespace(signature=signature)

    notes = interface_notes.interface_notes(model("int64"), model("int32"))
    assert notes == ["input 'ids' is int32 in the Target and int64 in the Source"]
    assert interface_notes.interface_notes(model("int64"), model("int64")) == []
