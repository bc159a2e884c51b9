"""Every tensor of an ONNX graph as TVM computes it, under ONNX's names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[3])
SCRIPT = """
import json, sys, numpy, onnx, onnxruntime
sys.path.insert(0, sys.argv[1])
from safeconvert.runtimes.tvm.model import CannotRun, activations, load
assert load("", "").notes[0].startswith("TVM ")
model = onnx.load(sys.argv[2])
x = numpy.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32")
result = activations(sys.argv[2], {"x": x}, "store.npz")
names = [name for node in model.graph.node for name in node.output]
assert [record.tensor for record in result.records] == names, result
assert (result.missing, result.why) == ([], "")
model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names[:-1])
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
expected = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"x": x})))
with numpy.load("store.npz") as stored:
    far = max(float(abs(stored[r.key] - expected[r.tensor]).max()) for r in result.records)
try:
    activations(sys.argv[2], {"x": x[:, :2]}, "other.npz")
except CannotRun as error:
    said = str(error)
print(json.dumps({"far": far, "calls": result.calls, "said": said}))
"""


def test_tvm_gives_every_tensor_under_its_onnx_name(onnx_models: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, ROOT, str(onnx_models / "labels.onnx")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["far"] < 1e-4
    assert result["calls"] > 0
    assert len(result["said"].splitlines()) == 1
