"""A TFLite file as objects that can be changed, and back. Runs in a worker."""

from __future__ import annotations

from typing import Any

import numpy as np


def unpacked(data: bytes | bytearray) -> Any:
    """The model (``ModelT``). Raises ValueError where constants stand behind the flatbuffer, as in files over 2 GB."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    if any(buffer.offset and buffer.offset > 1 for buffer in model.buffers):
        raise ValueError("constants behind the flatbuffer cannot be changed in their number or type")
    return model


def packed(model: Any) -> bytearray:
    """The file's bytes."""
    from ai_edge_litert import schema_py_generated as schema

    class Aligned(schema.flatbuffers.Builder):  # type: ignore[misc, unused-ignore]
        """schema.fbs aligns buffers to 16 bytes, which the Python code made of it leaves out."""

        def StartVector(self, size: int, count: int, alignment: int) -> Any:
            return super().StartVector(size, count, 16 if size == 1 else alignment)

    builder = Aligned(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytearray(builder.Output())


def inlined(data: bytes) -> Any:
    """The model (``ModelT``) with constants that stand behind the flatbuffer brought into it."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    for buffer in model.buffers:
        if buffer.offset and buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model
