"""torch -> tflite, by litert-torch, mostly under the interpreter of its own environment. Worker side.

Needs torch, NumPy and litert-torch alone. litert-torch writes 32-bit integers where torch has 64.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..runtimes.pytorch import model as pytorch_model
from ..runtimes.pytorch.exporter import examples
from .hop_function import HopAnswer, InputPermutation, Shapes


class NamedModel(torch.nn.Module):
    """A model that takes its inputs by name, each permuted by ``axes`` first, and returns its outputs by name.

    litert-torch gives the file's inputs and outputs the names of keyword arguments and of the keys of the result.
    """

    def __init__(
        self, inner: Any, inputs: Sequence[str], outputs: Sequence[str], axes: Mapping[str, tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.inner, self.inputs, self.outputs, self.axes = inner, list(inputs), list(outputs), dict(axes)
        self.training = False  # eval() would ask the inner module too, which an exported program refuses

    def forward(self, **arrays: torch.Tensor) -> Any:
        arguments = [
            arrays[name].permute(self.axes[name]) if name in self.axes else arrays[name] for name in self.inputs
        ]
        results = pytorch_model.leaves(self.inner(*arguments))
        return dict(zip(self.outputs, results, strict=True)) if self.outputs else tuple(results)


def convert(path: str, target: str, *, shapes: Shapes, input_permutation: InputPermutation | None = None) -> HopAnswer:
    """Convert the model; a free batch of ``shapes`` becomes 1."""
    import litert_torch

    loaded = pytorch_model.loaded(path)
    program, module = loaded.native
    axes = {} if input_permutation is None else dict.fromkeys(input_permutation.names, input_permutation.axes)
    model = NamedModel(module, list(shapes), [output.name for output in loaded.outputs], axes)
    single: Shapes = {name: [1 if size is None else size for size in shape] for name, shape in shapes.items()}
    inputs = dict(zip(single, examples(single, program), strict=True))
    for name, permutation in axes.items():
        inverse = [permutation.index(axis) for axis in range(len(permutation))]
        inputs[name] = inputs[name].permute(inverse).contiguous()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        litert_torch.convert(model, sample_kwargs=inputs).export(target)
    return HopAnswer.WRITTEN
