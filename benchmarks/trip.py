"""The way of one run through the files of the parent process, traced by ``sys.setprofile`` on tiny models.

For ``check`` and ``repair`` of ONNX files and a ``torch2keras`` that finds nothing wrong: the files whose functions
run, how often a call goes from one file to another, between how many pairs of functions, and how many calls
reach a worker. Run as ``python -m benchmarks.trip``; prints one JSON object.
"""

from __future__ import annotations

import dis
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import safeconvert
from safeconvert import api

CLASSES = 5
TORCH = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5)
    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))
torch.manual_seed(0)
dims = ({0: torch.export.Dim("batch")},)
torch.export.save(torch.export.export(Net().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=dims), "source.pt2")
"""


@dataclass
class Trip:
    """What the profiler saw: a move is a call of a function of the package from one of its other files.

    That a generator goes on after it gave a value is no call: the one that a template of the report is gives hundreds.
    ``steps`` are the moves without repetition, as pairs of functions: what a person reads of them.
    """

    folders: tuple[str, ...]
    files: set[str] = field(default_factory=set)
    steps: set[tuple[CodeType, CodeType]] = field(default_factory=set)
    moves: int = 0
    worker_calls: int = 0
    _local: threading.local = field(default_factory=threading.local)

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(self.folders) or frame.f_lasti > _first_instruction(code):
            return
        self.files.add(code.co_filename)
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(self.folders):
            caller = caller.f_back
        if caller is not None and caller.f_code.co_filename != code.co_filename:
            self.moves += 1
            self.steps.add((caller.f_code, code))
        self.worker_calls += code.co_name == "call" and Path(code.co_filename).name == "pool.py"


@cache
def _first_instruction(code: CodeType) -> int:
    """Where a function begins; a generator that goes on is at an instruction behind it."""
    return next(instruction.offset for instruction in dis.get_instructions(code) if instruction.opname == "RESUME")


def traced(run: Callable[[], object]) -> dict[str, int]:
    root = Path(str(safeconvert.__file__)).resolve().parents[1]
    trip = Trip(tuple(str(root / name) + "/" for name in ("safeconvert", "converters", "repair")))
    threading.setprofile(trip)
    sys.setprofile(trip)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return {
        "files": len(trip.files),
        "moves": trip.moves,
        "steps": len(trip.steps),
        "worker_calls": trip.worker_calls,
    }


def conv_net(scale: float = 1.0) -> onnx.ModelProto:
    """A convolution, a global pool and a head of 5 classes; ``scale`` multiplies the convolution's weights."""
    random = np.random.default_rng(0)
    arrays = {"w": (4, 3, 3, 3), "head": (4, CLASSES)}
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in arrays.items()}
    weights["w"] *= np.float32(scale)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "head"], ["y"], "classes"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def trips(folder: Path) -> dict[str, dict[str, int]]:
    """Trace the three runs on models made in ``folder``."""
    onnx.save(conv_net(), folder / "source.onnx")
    onnx.save(conv_net(), folder / "copy.onnx")
    onnx.save(conv_net(1.3), folder / "wrong.onnx")
    subprocess.run([sys.executable, "-W", "ignore", "-c", TORCH], cwd=folder, check=True, capture_output=True)
    np.savez(folder / "x.npz", np.random.default_rng(1).normal(size=(24, 3, 8, 8)).astype(np.float32))
    inputs = {"inputs": folder / "x.npz"}
    return {
        "check": traced(lambda: api.check(folder / "source.onnx", folder / "copy.onnx", **inputs)),
        "repair onnx/onnx": traced(
            lambda: api.repair(folder / "source.onnx", folder / "wrong.onnx", output=folder / "right.onnx", **inputs)
        ),
        "torch2keras": traced(
            lambda: api.convert(folder / "source.pt2", "keras", output=folder / "target.keras", **inputs)
        ),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(trips(Path(folder)), indent=2))


if __name__ == "__main__":
    main()
