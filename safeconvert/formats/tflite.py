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
index = interpreter.get_input_details()[0]["index"]
interpreter.resize_tensor_input(index, test["input"].shape)
interpreter.allocate_tensors()
interpreter.set_tensor(index, test["input"])
interpreter.invoke()
outputs = [interpreter.get_tensor(interpreter.get_output_details()[0]["index"])]
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
    is_snippet_for_one_output=True,
)
