"""Constants that a submodule takes as an argument become known inside it, and the module computes the same."""

from __future__ import annotations

from pathlib import Path

from tests.support.warm_processes import run_script

SCRIPT = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from safeconvert.converters.support.constant_arguments import bake

class Scale(torch.nn.Module):
    def forward(self, x, by, *, shift):
        return x * by + shift

class Leaves(torch.fx.Tracer):
    def is_leaf_module(self, module, name):
        return isinstance(module, Scale)

class Net(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.scale = Scale()
        self.register_buffer("by", torch.arange(float(size)))
        self.register_buffer("shift", torch.tensor(2.0))
    def forward(self, x):
        return self.scale(x, self.by, shift=self.shift)

def graph(size):
    net = Net(size).eval()
    return torch.fx.GraphModule(net, Leaves().trace(net))

for size, left in ((3, set()), (10_000, {"by"})):
    module, x = graph(size), torch.randn(2, size)
    expected = module(x)
    baked = bake(module)
    assert {node.target for node in baked.graph.nodes if node.op == "get_attr"} == left, size
    assert torch.equal(baked(x), expected)
"""


def test_small_constants_are_baked_and_large_ones_stay(tmp_path: Path) -> None:
    run_script("torch", SCRIPT, tmp_path, [str(Path(__file__).parents[3])])
