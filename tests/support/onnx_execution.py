"""Run ONNX models in onnxruntime without graph optimisation, on seeded arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Array = npt.NDArray[Any]


Feeds = dict[str, Array]


def weights(seed: int, *shape: int) -> Array:
    return (np.random.default_rng(seed).normal(size=shape) * 0.7).astype(np.float32)


def execute(model: onnx.ModelProto, feeds: Feeds) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))
