"""onnx -> keras, by onnx2keras, made shippable.

Worker side. onnx2keras is run in ONNX's own channels-first order, which its layers follow faithfully; the
result cannot run on a CPU and holds Lambda layers that no other process can load. ``keras_graph`` turns
it into an equivalent channels-last model of built-in layers and operations.
"""

from __future__ import annotations

import keras
import onnx

from ..runtimes.registry import register
from ..runtimes.tensorflow import model as tensorflow_model
from .hop_function import HopAnswer
from .keras_rebuild.channels_last import channels_last
from .support.input_names import with_plain_inputs
from .support.missing_operators import extended


def convert(path: str, target: str) -> HopAnswer:
    """Convert the ONNX file to ``target`` (``.keras``) and register the model under it for a following hop."""
    import onnx2keras

    model = with_plain_inputs(onnx.load(path))
    constants = {tensor.name for tensor in model.graph.initializer}
    names = [i.name for i in model.graph.input if i.name not in constants]
    # Keras refuses many ONNX names as layer names, hence renumerate.
    with extended():
        converted = onnx2keras.onnx_to_keras(
            model, names, name_policy="renumerate", verbose=False, change_ordering=False
        )
    if len(converted.outputs) != len(model.graph.output):
        raise ValueError(f"onnx2keras gave {len(converted.outputs)} of {len(model.graph.output)} outputs")
    shipped = channels_last(converted)
    shipped.save(target)
    register(target, tensorflow_model.keras_model(shipped))
    keras.backend.set_image_data_format("channels_last")  # onnx2keras leaves its own order behind when it fails
    return HopAnswer.WRITTEN
