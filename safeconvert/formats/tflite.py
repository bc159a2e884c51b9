"""TFLite models: flatbuffers, as LiteRT runs them."""

from __future__ import annotations

from pathlib import Path

from ..workers.runtime import LITERT, TENSORFLOW_INTERPRETER
from .format import Format, ModelFile


def detect_flavour(path: Path, head: bytes) -> str | None:
    """Tell a flatbuffer by its file identifier."""
    return "tflite" if head[4:8] == b"TFL3" else None


def load_object(file: ModelFile) -> bytes:
    """Return the bytes, which every interpreter takes."""
    return file.path.read_bytes()


SNIPPET = """\
import numpy
from ai_edge_litert.interpreter import Interpreter
test = numpy.load(TEST)
interpreter = Interpreter(MODEL)
(entry,) = interpreter.get_input_details()
interpreter.resize_tensor_input(entry["index"], test["input"].shape)
interpreter.allocate_tensors()
value, (scale, zero_point) = test["input"], entry["quantization"]
if scale:  # the file holds whole numbers: value = scale * (number - zero_point)
    limits = numpy.iinfo(entry["dtype"])
    value = numpy.clip(numpy.round(value / scale + zero_point), limits.min, limits.max).astype(entry["dtype"])
interpreter.set_tensor(entry["index"], value)
interpreter.invoke()
details = {detail["name"]: detail for detail in interpreter.get_output_details()}
if len(interpreter.get_signature_list()) == 1:
    details = interpreter.get_signature_runner().get_output_details()
outputs = []
for name in (OUTPUTS):
    answer, (scale, zero_point) = interpreter.get_tensor(details[name]["index"]), details[name]["quantization"]
    outputs.append((answer.astype("float32") - zero_point) * scale if scale else answer)
"""
TFLITE = Format(
    name="tflite",
    article="a",
    display_name="TFLite",
    suffix=".tflite",
    flavour="tflite",
    known_suffixes=(".tflite",),
    example="model.tflite",
    runtime=LITERT,
    second_runtime=TENSORFLOW_INTERPRETER,
    can_resize_batch=True,
    detect_flavour=detect_flavour,
    load_object=load_object,
    requires=("ai_edge_litert",),
    default_preprocess="keras",
    default_layout="nhwc",
    part="TFLite tensor",
    layer_naming="tensor",
    is_named_by_layer=False,
    snippet=SNIPPET,
)
