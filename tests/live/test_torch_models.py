"""PyTorch models of a person's process: what is written of them, what comes back; nothing of the person's changes."""

from __future__ import annotations

from pathlib import Path

from tests.support.live_scripts import NET, run_live


def test_a_module_is_converted_and_comes_back_live(tmp_path: Path) -> None:
    run_live(
        "torch",
        NET
        + """
net.head.eval()
result = safeconvert.convert(net, to="onnx", inputs=x)
assert result.verdict == "verified" and result.path == result.target and result.path.is_file()
assert [net.training, net.conv.training, net.drop.training, net.head.training] == [True, True, True, False]
assert torch.is_grad_enabled() and all(p.requires_grad for p in net.parameters())
assert not {"onnxruntime", "tensorflow", "keras"} & set(sys.modules)
assert any("Net (in training mode; converted in evaluation mode)" in note for note in result.report["notes"])
proto = result.model
assert type(proto).__name__ == "ModelProto" and result.model is proto
assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # the batch is free

back = safeconvert.convert(proto, to="torch", inputs={proto.graph.input[0].name: x})
module = back.model
assert back.verdict == "verified" and isinstance(module, torch.nn.Module)
torch.testing.assert_close(module(x), net.eval()(x), atol=1e-4, rtol=1e-4)
module.train()
module(x).sum().backward()
assert module.training and all(p.grad is not None for p in module.parameters() if p.requires_grad)
assert len([p for p in module.parameters() if p.requires_grad]) == 4
assert safeconvert.check(net, module, inputs=x).verdict == "verified"
""",
        tmp_path,
    )


def test_programs_scripts_and_modules_of_several_inputs_are_taken(tmp_path: Path) -> None:
    run_live(
        "torch",
        NET
        + """
from safeconvert.live.model_file import input_count, write
from safeconvert.live.pytorch_file import describe
from safeconvert.live.arrays import read
from pathlib import Path

class Two(torch.nn.Module):
    def forward(self, a, b, factor=2.0):
        return torch.cat([a * factor, b], 1)

class Branching(torch.nn.Module):
    def forward(self, x):
        return x * 2 if bool((x.sum() > -1e9).item()) else x.flatten(1)

program = torch.export.export(net.eval(), (x,))
a, b = np.ones((1, 3), "float32"), np.ones((1, 2), "float32")
for index, (model, given, flavour, names) in enumerate([
    (program, None, "pt2", ["x"]),
    (torch.jit.trace(net, x), None, "torchscript", []),
    (Two(), (a, b), "pt2", ["a", "b"]),
    (Two(), {"b": b, "a": a}, "pt2", ["a", "b"]),
    (Branching(), x[:1], "torchscript", []),
]):
    Path(str(index)).mkdir()
    written = write(model, Path(str(index)) / "model", None if given is None else read(given, None), {})
    assert (written.file.flavour, list(written.input_names)) == (flavour, names), (index, written)
    assert written.file.is_live
assert [describe(program), describe(torch.jit.trace(net, x))] == [
    "torch.export.ExportedProgram", "torch.jit.ScriptModule TopLevelTracedModule"
]
assert [input_count(model) for model in (Two(), net, program)] == [2, 1, 1]
sizes = torch.export.load("2/model.pt2").graph.find_nodes(op="placeholder")[0].meta["val"].shape
assert not isinstance(sizes[0], int) and sizes[1] == 3

assert safeconvert.check(torch.jit.trace(net, x), program, input_shape=(1, 3, 8, 8)).verdict == "verified"
both = {"a": np.eye(3, dtype="f"), "b": a[:, :2].repeat(3, 0)}
assert safeconvert.check(Two(), Two(), inputs=both).verdict == "verified"
""",
        tmp_path,
    )


def test_what_a_module_lacks_is_said(tmp_path: Path) -> None:
    run_live(
        "torch",
        NET
        + """
def refused(saying, *models, **options):
    try:
        safeconvert.convert(*models, **options)
    except safeconvert.BadInput as error:
        assert saying in str(error), error
    else:
        raise AssertionError(saying)

refused("does not say what its input looks like.\\nPass inputs=x", net, to="onnx")
refused("int is no model", 3, to="onnx")
refused("'jax' is no format", net, to="jax")
refused("neither in torch.export nor in torch.jit.trace", net, to="onnx", inputs=np.zeros((2, 7, 8, 8), "float32"))
refused("no array of numbers", net, to="onnx", inputs="a b".split())
refused("forward takes x", net, to="onnx", inputs={"y": x, "z": x})
result = safeconvert.check(net, net, input_shape=(1, 3, 8, 8))
assert result.verdict == "verified" and result.report["check"]["inputs"]["kind"] == "probes"
""",
        tmp_path,
    )


def test_loaders_are_read_and_their_labels_left_out(tmp_path: Path) -> None:
    run_live(
        "torch",
        NET
        + """
from torch.utils.data import DataLoader, TensorDataset
loader = DataLoader(TensorDataset(x, torch.arange(12)), batch_size=5)
result = safeconvert.check(net, net, inputs=loader)
assert result.verdict == "verified", result
assert result.report["check"]["inputs"]["count"] == 12
""",
        tmp_path,
    )


def test_a_model_is_no_longer_alike_once_a_weight_changes(tmp_path: Path) -> None:
    run_live(
        "torch",
        NET
        + """
import copy
from safeconvert.errors import Diverged
other = copy.deepcopy(net)
with torch.no_grad():
    other.head.weight += 0.5
result = safeconvert.check(net, other, inputs=x)
assert result.verdict == "diverged"
try:
    result.raise_for_verdict()
except Diverged as error:
    assert error.verdict == "diverged" and error.report is result.report and str(error).startswith("diverged: ")
else:
    raise AssertionError("nothing was raised")
assert repr(result).startswith("<Result diverged, ") and "\\n" not in repr(result) and len(repr(result)) < 170
assert "<td style='text-align:left'>diverged</td>" in result._repr_html_()
repaired = safeconvert.repair(net, other, inputs=x)
assert repaired.verdict == "repaired", repaired
torch.testing.assert_close(repaired.model(x), net.eval()(x), atol=1e-4, rtol=1e-4)
""",
        tmp_path,
    )
