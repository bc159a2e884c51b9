"""InceptionV3 as torchvision has it: ``transform_input`` takes the channels apart (Gather), scales each, and joins
them again (Unsqueeze, Concat). Run in a process of its own.

    python -m benchmarks.paper_cases.prepared_inception MODEL.pt2 OUT.pt2

``MODEL``: takes NHWC, values from -1 to 1. ``OUT``: takes NCHW by ImageNet's mean and std, any batch.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Prepared(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> Any:
        channels = [
            torch.unsqueeze(x[:, i], 1) * (std / 0.5) + (mean - 0.5) / 0.5
            for i, (mean, std) in enumerate(zip(MEAN, STD, strict=True))
        ]
        return self.inner(torch.cat(channels, 1).permute(0, 2, 3, 1))


def write(source: str, out: str) -> None:
    program = torch.export.load(source)
    _, height, width, channels = program.example_inputs[0][0].shape
    example = torch.zeros(2, channels, height, width)
    exported = torch.export.export(
        Prepared(program.module()), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(exported, out)


if __name__ == "__main__":
    write(*sys.argv[1:])
