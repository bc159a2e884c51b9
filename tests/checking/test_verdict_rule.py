"""The verdict rule beyond the comparison of values: nothing tested, contradictions, noise, probes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from safeconvert.checking.further_checks import FURTHER_CHECKS, PROBES_CHECKED, check_probes
from safeconvert.checking.source_behaviour import REPEATED_ROWS
from safeconvert.inputs.base import split
from tests.support.command import Done, safeconvert

N = helper.make_node
RANDOM = np.random.default_rng(0)
W, B = RANDOM.normal(size=(6, 5)).astype(np.float32), RANDOM.normal(size=5).astype(np.float32)
INPUTS = RANDOM.normal(size=(24, 6)).astype(np.float32)
HEAD = (N("MatMul", ["x", "w"], ["m"]), N("Add", ["m", "b"], ["y"]))


def model(path: Path, *nodes: Any, dtype: int = TensorProto.FLOAT, **constants: Any) -> Path:
    values = {"w": W, "b": B, **constants}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", dtype, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in values.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    save(proto, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("verdict")
    np.savez(place / "x.npz", x=INPUTS)
    np.savez(place / "positive.npz", x=np.abs(INPUTS))
    model(place / "head.onnx", *HEAD)
    model(place / "same.onnx", *HEAD)
    return place


def check(folder: Path, source: str, target: str, *more: str, inputs: str = "x.npz") -> tuple[Done, dict[str, Any]]:
    done = safeconvert("check", source, target, "--inputs", inputs, "--json", *more, folder=folder)
    return done, json.loads(done.out) if done.out else {}


def test_outputs_and_further_checks_are_reported(folder: Path) -> None:
    done, report = check(folder, "head.onnx", "same.onnx")
    assert done.code == 0, done.err
    (output,) = report["check"]["outputs"]
    assert (output["kind"], output["class_axis"], output["is_quantized"]) == ("labels", 1, False)
    assert output["tolerance"]["rtol"] == 1e-3
    probes = next(entry for entry in report["check"]["further"] if entry["name"] == "probes")
    assert (probes["outcome"], probes["figures"]["outputs_move"]) == ("agrees", True)
    assert probes["figures"]["count"] == PROBES_CHECKED
    assert check_probes in FURTHER_CHECKS


def test_a_clamp_shows_on_large_inputs(folder: Path) -> None:
    clamp = N("Clip", ["x", "low", "high"], ["c"])
    limits = {"low": np.float32(-40), "high": np.float32(40)}
    model(folder / "clamped.onnx", clamp, N("MatMul", ["c", "w"], ["m"]), HEAD[1], **limits)
    done, report = check(folder, "head.onnx", "clamped.onnx")
    assert done.code == 1
    assert "probes of large values" in report["reasons"][0]
    done, report = check(folder, "head.onnx", "clamped.onnx", "--own-inputs-only")
    assert done.code == 0, "nothing else tells"
    done, report = check(folder, "head.onnx", "clamped.onnx", "--atol", "1e-4")
    assert done.code == 0, "an absolute tolerance is for values of the inputs' own size"


def test_an_output_that_is_ill_conditioned_on_large_inputs_is_not_judged_there(folder: Path) -> None:
    sine = N("Sin", ["s"], ["y"])
    sine_of = HEAD[0], N("Mul", ["m", "f"], ["s"]), sine
    model(folder / "sine.onnx", *sine_of, f=np.float32(1e4))
    model(folder / "sine_rounded.onnx", *sine_of, f=np.nextafter(np.float32(1e4), np.float32(2e4)))
    done, report = check(folder, "sine.onnx", "sine_rounded.onnx")
    large = next(entry for entry in report["check"]["further"] if entry["name"] == "large inputs")
    assert large["outcome"] == "not run"
    assert "ill-conditioned there: y" in large["reason"]
    assert done.code == 0


def test_ids_that_rounding_changes_on_large_inputs_are_not_judged_there(folder: Path) -> None:
    parts = [HEAD[0], N("Mul", ["m", "f"], ["s"]), N("Cast", ["s"], ["y"], to=TensorProto.INT64)]
    f = np.float32(1e5)
    model(folder / "ids.onnx", *parts, dtype=TensorProto.INT64, f=f)
    model(folder / "other_ids.onnx", *parts, dtype=TensorProto.INT64, f=f + np.float32(1))
    clamp = [N("Clip", ["x", "low", "high"], ["c"]), N("MatMul", ["c", "w"], ["m"]), *parts[1:]]
    limits = {"low": np.float32(-40), "high": np.float32(40), "f": f}
    model(folder / "clamped_ids.onnx", *clamp, dtype=TensorProto.INT64, **limits)
    assert check(folder, "ids.onnx", "other_ids.onnx")[0].code == 1
    done, report = check(folder, "ids.onnx", "clamped_ids.onnx")
    large = next(entry for entry in report["check"]["further"] if entry["name"] == "large inputs")
    assert large["outcome"] == "not run"
    assert "ill-conditioned there: y" in large["reason"]
    assert done.code == 0


def test_what_an_output_is_can_be_said_in_two_ways(folder: Path) -> None:
    for option in ("--output", "--output-kind"):
        _, report = check(folder, "head.onnx", "same.onnx", option, "y:values")
        assert report["check"]["outputs"][0]["kind"] == "values"
    assert check(folder, "head.onnx", "same.onnx", "--output-kind", "z:values")[0].code == 2


def test_copies_count_once_and_one_input_is_not_enough(folder: Path) -> None:
    np.savez(folder / "one.npz", x=np.repeat(INPUTS[:1], 8, axis=0))
    done, report = check(folder, "head.onnx", "same.onnx", inputs="one.npz")
    assert done.code == 4
    assert (report["check"]["inputs"]["count"], report["check"]["inputs"]["distinct"]) == (8, 1)
    np.savez(folder / "copies.npz", x=np.concatenate([INPUTS, INPUTS]))
    done, report = check(folder, "head.onnx", "same.onnx", inputs="copies.npz")
    assert done.code == 0
    assert sum(part["count"] for part in report["check"]["after"].values()) == len(INPUTS)


def test_a_source_that_is_constant_shows_nothing_but_a_difference_does(folder: Path) -> None:
    for name, bias in (("constant.onnx", B), ("other_constant.onnx", B + 1)):
        model(folder / name, *HEAD, w=W * 0, b=bias)
    assert check(folder, "constant.onnx", "constant.onnx")[0].code == 4
    assert check(folder, "constant.onnx", "other_constant.onnx")[0].code == 1


def test_two_inputs_are_enough_and_a_source_that_moves_late_is_not_constant(folder: Path) -> None:
    np.savez(folder / "two.npz", x=INPUTS[:2])
    assert check(folder, "head.onnx", "same.onnx", inputs="two.npz")[0].code == 0
    model(folder / "rare.onnx", N("Relu", ["x"], ["p"]), N("MatMul", ["p", "w"], ["m"]), HEAD[1])
    rare = -np.abs(np.random.default_rng(4).normal(size=(80, 6))).astype(np.float32)
    rare[split(80, 0.5, 0)[1][-1]] *= -1  # a held-out input, beyond those that scales are measured on
    np.savez(folder / "rare.npz", x=rare)
    assert check(folder, "rare.onnx", "rare.onnx", inputs="rare.npz")[0].code == 0


def test_a_source_that_contradicts_itself_blames_no_target(folder: Path) -> None:
    noise = N("RandomNormalLike", ["m"], ["r"])
    model(folder / "random.onnx", HEAD[0], noise, N("Add", ["m", "r"], ["y"]))
    done, report = check(folder, "random.onnx", "head.onnx")
    assert done.code == 4
    assert "another one each time" in report["reasons"][0]
    assert REPEATED_ROWS >= 2


def test_a_difference_on_probes_alone_is_one_unless_the_person_says_otherwise(folder: Path) -> None:
    model(folder / "clipped.onnx", N("Relu", ["x"], ["p"]), N("MatMul", ["p", "w"], ["m"]), HEAD[1])
    done, report = check(folder, "head.onnx", "clipped.onnx", inputs="positive.npz")
    assert done.code == 1
    assert "on 6 probes" in report["reasons"][0]
    done, report = check(folder, "head.onnx", "clipped.onnx", "--own-inputs-only", inputs="positive.npz")
    assert done.code == 0
    assert "--own-inputs-only" in report["check"]["further"][0]["reason"]


def test_an_ill_conditioned_source_is_said_to_be_so(folder: Path) -> None:
    """sin(1e8 * values) turns a rounding error into another answer."""
    for name, scale in (("chaos.onnx", 1e8), ("chaos_t.onnx", 1e8 * (1 + 1e-6))):
        nodes = (HEAD[0], N("Mul", ["m", "s"], ["a"]), N("Sin", ["a"], ["y"]))
        model(folder / name, *nodes, s=np.float32(scale))
    done, report = check(folder, "chaos.onnx", "chaos_t.onnx")
    assert done.code == 4
    assert "ill-conditioned" in report["reasons"][0]
    assert report["check"]["outputs"][0]["ill_conditioned"]


def test_integers_are_equal_or_not(folder: Path) -> None:
    for name, off in (("ids.onnx", 0), ("ids_off.onnx", 1)):
        nodes = (HEAD[0], N("ArgMax", ["m"], ["i"], axis=1, keepdims=0), N("Add", ["i", "off"], ["y"]))
        model(folder / name, *nodes, dtype=TensorProto.INT64, off=np.int64(1000 + off))
    assert check(folder, "ids.onnx", "ids.onnx")[0].code == 0
    done, report = check(folder, "ids.onnx", "ids_off.onnx")
    assert done.code == 1
    assert report["check"]["outputs"][0]["kind"] == "ids"
    assert len(report["check"]["differing"]) == 20
