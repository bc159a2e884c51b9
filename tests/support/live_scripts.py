"""Scripts in which Python code holds models and calls safeconvert, each in a process that has one framework."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.warm_processes import PRELOADED, run_script, zygote

HEAD = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.support.warm_processes import use_warm_workers
use_warm_workers(json.loads(sys.argv[1]))
del sys.path[0]
import numpy as np
import safeconvert
"""
NET = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.drop = torch.nn.Dropout()
        self.head = torch.nn.Linear(4, 5)
    def forward(self, x):
        return self.head(self.drop(self.conv(x).relu().mean((2, 3))))
torch.manual_seed(0)
net = Net()
x = torch.randn(12, 3, 8, 8)
"""


def run_live(framework: str, code: str, folder: Path) -> None:
    """Run the code in a process that has imported the framework; its workers are warm. AssertionError if it fails."""
    sockets = json.dumps({name: zygote(name) for name in PRELOADED})
    run_script(framework, HEAD + code, folder, [sockets])
