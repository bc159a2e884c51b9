"""Equivalent forms of torch models equal them and keep the batch free, and exported programs can be traced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

TOLERANCE = 1e-5
# Name, expression of x (N, 8, 9, 10) in both signs, and the operator that must be gone ("": none).
CASES: dict[str, tuple[str, str]] = {
    "avg_pool2d_divisor": ("F.avg_pool2d(x, (3, 2), 2, 1, divisor_override=5)", "divisor"),
    "avg_pool2d_divisor_ceil": ("F.avg_pool2d(x, 3, (2, 3), (1, 0), ceil_mode=True, divisor_override=2)", "divisor"),
    "avg_pool3d_divisor": ("F.avg_pool3d(x.reshape(-1, 2, 4, 9, 10), 2, 2, 1, True, divisor_override=3)", "divisor"),
    "avg_pool2d_plain_stays": ("F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False)", ""),
    "max_pool2d_ceil": ("F.max_pool2d(x - 5, (3, 2), (2, 3), (1, 1), dilation=(2, 1), ceil_mode=True)", ""),
    "max_pool2d_ceil_shortened": ("F.max_pool2d(x - 5, 2, 3, 1, ceil_mode=True)", ""),
    "max_pool1d_ceil": ("F.max_pool1d(x.flatten(2) - 5, 4, 3, 1, ceil_mode=True)", ""),
    "adaptive_avg": ("F.adaptive_avg_pool2d(x, (5, 7))", "adaptive"),
    "adaptive_avg_1d": ("F.adaptive_avg_pool1d(x.flatten(2), 7)", "adaptive"),
    "adaptive_avg_3d": ("F.adaptive_avg_pool3d(x.reshape(-1, 2, 4, 9, 10), (3, 4, 4))", "adaptive"),
    "adaptive_max": ("F.adaptive_max_pool2d(x - 5, (4, 7))", "adaptive"),
    "adaptive_max_even_stays": ("F.adaptive_max_pool2d(x, (3, 5))", ""),
    "antialias_down": ("F.interpolate(x, size=(4, 7), mode='bilinear', antialias=True)", "_aa"),
    "antialias_corners": ("F.interpolate(x, size=(14, 4), mode='bicubic', align_corners=True, antialias=True)", "_aa"),
    "antialias_cubic": ("F.interpolate(x, size=(4, 13), mode='bicubic', antialias=True)", "_aa"),
    "antialias_cubic_factor": ("F.interpolate(x, scale_factor=(0.45, 1.3), mode='bicubic', antialias=True)", "_aa"),
    "nearest_size": ("F.interpolate(x, size=(23, 29))", "nearest"),
    "nearest_smaller": ("F.interpolate(x, size=(4, 7))", "nearest"),
    "nearest_factor": ("F.interpolate(x, scale_factor=(1.3, 2.4615))", "nearest"),
    "nearest_factor_recomputed": ("F.interpolate(x, scale_factor=1.7, recompute_scale_factor=True)", "nearest"),
    "nearest_one_axis_whole": ("F.interpolate(x, size=(18, 13))", "nearest"),
    "nearest_1d": ("F.interpolate(x.flatten(2), size=64)", "nearest"),
    "nearest_3d": ("F.interpolate(x.reshape(-1, 2, 4, 9, 10), scale_factor=1.4)", "nearest"),
    "nearest_exact_size": ("F.interpolate(x, size=(23, 29), mode='nearest-exact')", "nearest"),
    "nearest_exact_factor": ("F.interpolate(x, scale_factor=(0.7, 1.9), mode='nearest-exact')", "nearest"),
    "nearest_whole_stays": ("F.interpolate(x, size=(27, 20)) + F.interpolate(x, scale_factor=(3, 2))", ""),
    "fold": ("F.fold(F.unfold(x, (3, 2), (2, 1), 1, (2, 3)), (9, 10), (3, 2), (2, 1), 1, (2, 3))", "col2im"),
    "log_sigmoid": ("F.logsigmoid(x * 300)", "log_sigmoid"),
    "logaddexp": ("torch.logaddexp(x * 200, x * -150)", "logaddexp"),
    "rrelu": ("F.rrelu(x, 0.1, 0.5)", "rrelu"),
    "threshold": ("F.threshold(x, 0.2, -1.5)", "threshold"),
    "trunc_frac": ("torch.trunc(x * 3) + torch.frac(x)", "trunc"),
    "expm1": ("torch.expm1(x * 1e-4) * 1e4 + torch.expm1(x)", "expm1"),
    "log1p": ("torch.log1p(x.abs() * 1e-8) * 1e8 + torch.log1p(x.abs())", "log1p"),
    "copysign": ("torch.copysign(x, x.flip(1)) + torch.copysign(x * 2, -0.0 * (x > 0))", "copysign"),
    "hypot": ("torch.hypot(x, x.flip(1))", "hypot"),
    "floor_divide": ("((x * 9).to(torch.int32) // 4 + (x * 9).to(torch.int64) // -5).float()", "floor_divide"),
    "floor_rounding": ("torch.div((x * 9).to(torch.int64), 4, rounding_mode='floor').float()", ""),
    "floor_rounding_float": ("torch.div(x, 0.3, rounding_mode='floor') + torch.div(x, 0.7, rounding_mode='trunc')", ""),
    "shift": ("((x * 50).to(torch.int32) >> 2).float()", "shift"),
    "kthvalue_median": ("torch.kthvalue(x, 3, 1).values + torch.median(x, 1).values", "kthvalue"),
    "cummax_cummin": ("torch.cummax(x, 2).values - torch.cummin(x, 3).values", "cum"),
    "cummax_indices_stay": ("torch.cummax(x, 2).indices.float()", ""),
    "cumprod": ("torch.cumprod(torch.tanh(x) + 1, 3)", "cumprod"),
    "cumsum_of_truth": ("torch.cumsum(x > 0, 1).float() + torch.cumsum(x, 2)", ""),
    "cdist": ("torch.cdist(x.flatten(2), x.flatten(2)[:, :3]) + torch.cdist(x[:, 0], x[:, 1], 1.0).sum()", "cdist"),
    "bilinear": ("F.bilinear(x[..., :4], x[..., 4:], torch.linspace(-1, 1, 120).reshape(5, 4, 6))", "bilinear"),
    "attention": ("F.scaled_dot_product_attention(x, x * 2, x, scale=0.7)", "attention"),
    "attention_causal": ("F.scaled_dot_product_attention(x, x * 2, x, is_causal=True)", "attention"),
    "attention_mask": ("F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(9, 9).tril() > 0)", "attention"),
    "instance_norm": ("F.instance_norm(x, torch.ones(8), torch.ones(8) * 2, use_input_stats=False)", "instance_norm"),
    "negative_indices": ("x[:, torch.tensor([1, 0, -3]), torch.tensor([2, -1, 0])]", ""),
    "written_rows": ("written(x)", "_scatter"),
}
SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch, torch.nn.functional as F
from safeconvert.converters import torch_onnx
from safeconvert.converters.forms.pytorch import decompositions, elementwise, exported_program, in_place_writes
from safeconvert.converters.forms.pytorch import windows
from safeconvert.runtimes.pytorch import model as pytorch_model

def written(x):
    x = x * 1
    x[:, 2, ::2] = 1.5
    x[:, 1:3, 2:-2, ::3] += 0.7
    x[..., -1] = x[..., 0]
    return F.relu6(x, inplace=True)

class Net(torch.nn.Module):
    def __init__(self, expression):
        super().__init__()
        self.expression = eval("lambda x: " + expression)
    def forward(self, x):
        return self.expression(x)

SHAPES = {"x": [None, 8, 9, 10]}
x = torch.randn(5, 8, 9, 10, generator=torch.Generator().manual_seed(1))

def program_of(expression):
    return torch.export.export(Net(expression).eval(), (x[:3],), dynamic_shapes=({0: torch.export.Dim("batch")},))

def measured(expression):
    # Of the form of that expression: difference to it relative to its largest value, is the batch free, what is left.
    program = program_of(expression)
    form = decompositions.decomposed(program, SHAPES)
    want, got = program.module()(x), form.module()(x)
    assert want.shape == got.shape and bool(torch.isfinite(want).all())
    return {
        "difference": float((want - got).abs().max() / want.abs().max()),
        "free": list(pytorch_model.program_inputs(form)[0].shape) == SHAPES["x"] and form.module()(x[:1]).shape[0] == 1,
        "left": " ".join(sorted({str(n.target) + ("divisor" if "avg_pool" in str(n.target) and n.args[-1] not in
            (True, None) and len(n.args) > 6 else "") for n in form.graph.nodes if n.op == "call_function"})),
    }

found = {name: measured(expression) for name, (expression, _) in json.loads(sys.argv[1]).items()}
def indices(length, mode, **how):
    # The pixels that PyTorch itself reads: its own operator, on the positions.
    positions = torch.arange(length, dtype=torch.float32).reshape(1, 1, length)
    return F.interpolate(positions, mode=mode, **how).flatten().tolist()

wrong = []
for size in (1, 3, 7, 13, 26, 33, 56):
    for mode in ("nearest", "nearest-exact"):
        for count in range(1, 90):
            if indices(size, mode, size=count) != windows._nearest_indices(size, count, None, "exact" in mode):
                wrong.append((size, mode, "size", count))
        for factor in (0.37, 0.5, 1.1, 1.3, 1.7, 2.0, 2.4615, 2.5, 3.3):
            if count := int(size * factor):
                own = windows._nearest_indices(size, count, factor, "exact" in mode)
                wrong += [] if indices(size, mode, scale_factor=factor) == own else [(size, mode, "factor", factor)]
found["nearest_indices_wrong"] = wrong
average = torch.ops.aten.avg_pool2d.default
right = decompositions.REWRITES[average]
decompositions.REWRITES[average] = lambda *given: right(*given) * 1.001
decompositions.REWRITES[average].__name__ = decompositions.REWRITES[average].__qualname__ = "mutant"
found["mutant"] = measured("F.avg_pool2d(x, 3, 2, 1, divisor_override=5)")
decompositions.REWRITES[average] = right

whole = "torch.cat([F.avg_pool2d(written(F.logsigmoid(x * 100)), 3, divisor_override=2).flatten(1), " \\
    "torch.zeros(x.shape[0], 2) + torch.hypot(x, x).mean((1, 2))[:, :2], " \\
    "torch.cumsum(x > 0, 1).float().flatten(1), " \\
    "torch.ops.aten._unsafe_view.default(x, [x.shape[0], 720])[:, :3], " \\
    "x.reshape(x.shape[0] * 2, -1).reshape(x.shape[0], -1)[:, :5]], 1)"
torch.export.save(program_of(whole), "whole.pt2")
want = program_of(whole).module()(x)
torch.save((x, want), "values.pt")
json.dump({"x": x.tolist(), "y": want.tolist()}, open("values.json", "w"))
torch_onnx.legacy("whole.pt2", "traced.onnx", shapes=SHAPES, opset=13, form="decomposed")
torch_onnx.dynamo("whole.pt2", "exported.onnx", shapes=SHAPES, form="decomposed")
sizes = "torch.cat([x.reshape(x.shape[0], -1), torch.ones(x.shape[0], 1)], 1).relu()"
torch.export.save(program_of(sizes), "sizes.pt2")
torch_onnx.legacy("sizes.pt2", "sizes.onnx", shapes=SHAPES, opset=13)
whole = torch.export.export(Net("x.float() / 255"), (torch.zeros(2, 8, 9, 10, dtype=torch.uint8),))
fixed = decompositions.decomposed(whole, {"x": [2, 8, 9, 10]})
found["pixels"] = pytorch_model.program_inputs(fixed)[0].to_json()
try:
    decompositions.decomposed(torch.jit.trace(Net("x * 2"), x), SHAPES)
except TypeError as error:
    found["scripted"] = str(error)
form = decompositions.decomposed(Net("F.logsigmoid(x)"), SHAPES)
found["module"] = pytorch_model.program_inputs(form)[0].shape
used = set()
for expression, _ in json.loads(sys.argv[1]).values():
    used |= {n.target for n in program_of(expression).run_decompositions({}).graph.nodes if n.op == "call_function"}
    used |= {n.target for n in program_of(expression).graph.nodes if n.op == "call_function"}
tables = {"elementwise": elementwise, "windows": windows, "in_place_writes": in_place_writes}
found["used"] = {name: len(used.intersection(table.REWRITES)) for name, table in tables.items()}
found["joined"] = set().union(*(table.REWRITES for table in tables.values())) == set(decompositions.REWRITES)
written = [exported_program.writes(node) for node in program_of("written(x)").graph.nodes]
found["writes"] = [any(written), any(map(exported_program.writes, program_of("x * 2").graph.nodes))]
json.dump(found, open("found.json", "w"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``found.json`` and three ONNX files, made in a process of its own: torch warns, and here warnings are errors."""
    folder = tmp_path_factory.mktemp("forms")
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(CASES)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return loaded


@pytest.mark.parametrize("name", CASES)
def test_a_form_equals_the_model_and_keeps_the_batch_free(facts: dict[str, Any], name: str) -> None:
    assert facts[name]["difference"] <= TOLERANCE
    assert facts[name]["free"]


@pytest.mark.parametrize("name", [name for name, (_, gone) in CASES.items() if gone])
def test_the_operator_that_exporters_get_wrong_is_gone(facts: dict[str, Any], name: str) -> None:
    assert CASES[name][1] not in facts[name]["left"]


def test_what_exporters_get_right_stays(facts: dict[str, Any]) -> None:
    assert "aten.avg_pool2d.default" in facts["avg_pool2d_plain_stays"]["left"]
    assert "aten.upsample_nearest2d.vec" in facts["nearest_whole_stays"]["left"]
    assert "aten.adaptive_max_pool2d.default" in facts["adaptive_max_even_stays"]["left"]
    assert "aten.cummax.default" in facts["cummax_indices_stay"]["left"]


def test_nearest_indices_are_those_of_pytorch_for_every_size_and_factor(facts: dict[str, Any]) -> None:
    assert facts["nearest_indices_wrong"] == []


def test_a_wrong_rewrite_is_seen(facts: dict[str, Any]) -> None:
    assert facts["mutant"]["difference"] > 50 * TOLERANCE


@pytest.mark.parametrize("file", ["traced.onnx", "exported.onnx"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_both_exporters_take_the_form_and_are_right_for_every_batch(folder: Path, file: str, count: int) -> None:
    values = json.loads((folder / "values.json").read_text())
    x, want = np.asarray(values["x"], np.float32)[:count], np.asarray(values["y"], np.float32)[:count]
    session = onnxruntime.InferenceSession(folder / file, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x})
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()


def test_a_program_whose_operators_take_the_free_size_is_traced_without_fixing_it(folder: Path) -> None:
    model = onnx.load(folder / "sizes.onnx")
    assert model.opset_import[0].version == 13
    session = onnxruntime.InferenceSession(folder / "sizes.onnx", providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(7, 8, 9, 10)).astype(np.float32)
    (got,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(got, np.maximum(np.concatenate([x.reshape(7, -1), np.ones((7, 1))], 1), 0))


def test_pixels_stay_whole_numbers_and_a_fixed_batch_fixed(facts: dict[str, Any]) -> None:
    assert (facts["pixels"]["dtype"], facts["pixels"]["shape"]) == ("uint8", [2, 8, 9, 10])


def test_a_module_has_a_form_too_but_a_scripted_one_has_none(facts: dict[str, Any]) -> None:
    assert facts["module"] == [None, 8, 9, 10]
    assert "TorchScript" in facts["scripted"]


def test_rewrites_of_each_file_are_tried_and_all_are_used(facts: dict[str, Any]) -> None:
    assert facts["joined"]
    assert min(facts["used"].values()) > 0, facts["used"]


def test_writing_into_a_tensor_is_told_from_computing_one(facts: dict[str, Any]) -> None:
    assert facts["writes"] == [True, False]
