"""litert-torch: names, layout and integer types of what it writes; the real converter, where its environment is.

``safeconvert env install litert-torch`` makes that environment; without it the first test alone runs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from safeconvert.converters import torch_tflite

from safeconvert.workers.environments import interpreter
from tests.support.command import made_by, safeconvert
from tests.support.environments import USERS_CACHE
from tests.support.warm_processes import run_script

ROOT = str(Path(__file__).parents[2])
NAME = "litert-torch"
with mock.patch.dict(os.environ, USERS_CACHE):
    IS_INSTALLED = interpreter(NAME) is not None
with_converter = pytest.mark.skipif(not IS_INSTALLED, reason=f"needs `safeconvert env install {NAME}`")

NAMED = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from safeconvert.converters.torch_tflite import NamedModel

class Net(torch.nn.Module):
    def forward(self, picture, scale):
        return {"a": picture[:, 0], "b": (picture.sum(1) * scale,)}

picture, scale = torch.randn(2, 3, 4, 5), torch.tensor(3.0)
model = NamedModel(Net(), ["picture", "scale"], ["first", "second"], {"picture": (0, 3, 1, 2)})
result = model(scale=scale, picture=picture.permute(0, 2, 3, 1))
assert list(result) == ["first", "second"]
assert torch.equal(result["first"], picture[:, 0])
assert torch.equal(result["second"], picture.sum(1) * scale)
assert not model.training
unnamed = NamedModel(Net(), ["picture", "scale"], [], {})(picture=picture, scale=scale)
assert isinstance(unnamed, tuple) and len(unnamed) == 2
"""

NETS = """
import torch
from pathlib import Path

Path("nets.py").write_text('''
import torch
class Pictures(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.head = torch.nn.Linear(4, 5)
    def forward(self, x):
        return self.head(torch.nn.functional.gelu(self.conv(x)).mean((2, 3)))
''')

class Text(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(20, 8)
        self.layer = torch.nn.LSTM(8, 6, bidirectional=True, batch_first=True)
        self.head = torch.nn.Linear(12, 4)
    def forward(self, ids, mask):
        states, _ = self.layer(self.table(ids))
        kept = states * mask.unsqueeze(2)
        return {"states": states, "scores": self.head(kept.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))}

import sys
sys.path.insert(0, ".")
import nets
torch.manual_seed(0)
torch.save(nets.Pictures().eval().state_dict(), "pictures.pth")
ids, mask = torch.randint(0, 20, (2, 7)), torch.ones(2, 7, dtype=torch.int64)
batch = {0: torch.export.Dim("batch")}
torch.export.save(torch.export.export(Text().eval(), (ids, mask), dynamic_shapes=(batch, batch)), "text.pt2")
"""


def test_inputs_are_taken_and_outputs_given_by_name_each_in_its_layout(tmp_path: Path) -> None:
    assert torch_tflite.__name__.endswith("torch_tflite")
    run_script("torch", NAMED, tmp_path, [ROOT])


def report_of(*arguments: str, folder: Path) -> dict[str, Any]:
    done = safeconvert(*arguments, "--json", folder=folder, env=dict(USERS_CACHE), timeout=300)
    assert done.code == 0, done.out[-2000:] + done.err[-2000:]
    report: dict[str, Any] = json.loads(done.out)
    used = [(attempt["hop"], attempt["converter"]) for attempt in report["route"] if attempt["status"] == "ok"]
    assert used == [("torch->tflite", "litert-torch")]
    return report


@with_converter
def test_a_recurrent_net_with_integer_inputs_keeps_its_names_and_says_what_changed(tmp_path: Path) -> None:
    made_by(NETS, tmp_path)
    report = report_of("torch2tflite", "text.pt2", "-o", "text.tflite", folder=tmp_path)
    inputs, outputs = report["target"]["inputs"], report["target"]["outputs"]
    assert [(spec["name"], spec["dtype"]) for spec in inputs] == [("ids", "int32"), ("mask", "int32")]
    assert {spec["name"] for spec in outputs} == {"states", "scores"}
    assert "input 'ids' is int32 in the Target and int64 in the Source" in report["notes"]
    assert any(note.startswith("the batch became fixed") for note in report["notes"])


@with_converter
def test_a_state_dict_is_built_in_the_environment_and_its_pictures_can_have_the_channels_last(tmp_path: Path) -> None:
    made_by(NETS, tmp_path)
    options = ("--model-fn", "nets:Pictures", "--input-shape", "1,3,8,10", "--input-layout", "nhwc")
    report = report_of("torch2tflite", "pictures.pth", "-o", "pictures.tflite", *options, folder=tmp_path)
    (picture,) = report["target"]["inputs"]
    assert picture["shape"] == [1, 8, 10, 3]
