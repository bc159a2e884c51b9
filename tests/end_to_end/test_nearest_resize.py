"""Nearest resizes by factors that are not whole: the exporters read other pixels, and the Target delivered does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.command import made_by, safeconvert
from tests.support.framework_alone import alone

NET = """
import numpy, torch, torch.nn.functional as F

class Net(torch.nn.Module):
    # Every pixel counts: a single row that is read from elsewhere shows in the outputs.
    def __init__(self):
        super().__init__()
        self.by_size = torch.nn.Linear(3 * 64 * 16, 10)
        self.by_factor = torch.nn.Linear(3 * 31 * 62, 10)
        self.exact = torch.nn.Linear(3 * 40 * 26, 10)
    def forward(self, x):
        by_size = self.by_size(F.interpolate(x, size=(64, 16)).flatten(1))
        by_factor = self.by_factor(F.interpolate(x, scale_factor=(1.2, 2.4)).flatten(1))
        exact = self.exact(F.interpolate(x, size=(40, 26), mode="nearest-exact").flatten(1))
        return by_size + by_factor + exact

torch.manual_seed(0)
net = Net().eval()
batch = torch.export.Dim("batch")
program = torch.export.export(net, (torch.zeros(2, 3, 26, 26),), dynamic_shapes=({0: batch},))
torch.export.save(program, "net.pt2")
x = torch.randn(64, 3, 26, 26).numpy()
numpy.savez("x.npz", x=x)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(NET, tmp_path_factory.mktemp("nearest"))


@pytest.mark.parametrize("target", ["onnx", "keras"])
def test_a_model_with_nearest_resizes_is_delivered_with_its_own_pixels(folder: Path, target: str) -> None:
    output = f"net.{target}"
    done = safeconvert(
        f"torch2{target}", "net.pt2", "--inputs", "x.npz", "-o", output, "--json", folder=folder, timeout=400
    )
    assert done.code == 0, done.out + done.err
    report = json.loads(done.out)
    exports = [attempt for attempt in report["route"] if attempt["hop"] == "torch->onnx"]
    # The tracing exporter, which comes first where another converter reads the file, lacks nearest-exact.
    assert [(attempt["form"], attempt["status"]) for attempt in exports] == [
        ("", "diverged" if target == "onnx" else "crashed"),
        ("decomposed", "ok"),
    ]
    x = np.random.default_rng(5).normal(size=(3, 3, 26, 26)).astype("float32")
    want, got = alone(folder / "net.pt2", "torch", x), alone(folder / output, target, x)
    assert np.abs(want - got).max() < 1e-4 * np.abs(want).max()
