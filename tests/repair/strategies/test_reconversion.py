"""How much of a Target's weights have nothing to do with the Source's: more than half, and it is another model."""

from __future__ import annotations

import numpy as np
from safeconvert.repair.native_format.parameters import Parameter
from safeconvert.repair.strategies.reconversion import unrelated

RANDOM = np.random.default_rng(5)


def parameters(*arrays: np.ndarray) -> list[Parameter]:
    return [Parameter(f"layer_{place}/w", f"layer_{place}", array, False) for place, array in enumerate(arrays)]


def values(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def test_weights_that_are_close_or_laid_out_otherwise_are_related() -> None:
    kernel, matrix = values(3, 3, 4, 5), values(20, 7)
    target = parameters(kernel.transpose(3, 2, 0, 1).copy(), matrix + np.float32(0.05) * values(20, 7))
    assert unrelated(target, parameters(kernel, matrix)) == 0


def test_other_weights_are_unrelated() -> None:
    kernel, matrix = values(3, 3, 4, 5), values(30, 6)
    source = parameters(kernel, matrix)
    assert unrelated(parameters(values(3, 3, 4, 5), values(30, 6)), source) == 1
    assert 0 < unrelated(parameters(kernel, values(30, 6)), source) < 1
