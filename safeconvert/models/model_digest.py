"""The hash of everything that a model is made of: its file or folder, and the data files that an ONNX file names."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from ..formats import ModelFile
from .protobuf import Damaged, messages, nested, text

# Field numbers of onnx.proto: ModelProto, GraphProto, FunctionProto, NodeProto, AttributeProto, TensorProto.
MODEL_GRAPH, MODEL_FUNCTIONS = 7, 25
GRAPH_NODES, GRAPH_INITIALIZERS, FUNCTION_NODES = 1, 5, 7
NODE_ATTRIBUTES = 5
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
EXTERNAL_DATA, KEY, VALUE = 13, 1, 2


def model_digest(file: ModelFile) -> str:
    """Return the SHA-256 of the model, in hexadecimal digits.

    Of a single file it is that of its bytes; of a SavedModel and of an ONNX file with external data it is made of the
    names and bytes of all their files.
    """
    path = file.path
    if not file.format.has_external_data:
        return sha256(path)
    data_files = [name for name in external_files(path) if (path.resolve().parent / name).is_file()]
    if not data_files:
        return sha256(path)
    digest = hashlib.sha256(bytes.fromhex(sha256(path)))
    for name in data_files:
        digest.update(os.fsencode(name) + b"\0" + bytes.fromhex(sha256(path.resolve().parent / name)))
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Of a file's bytes; of a folder, over its files' relative names and bytes in sorted order."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if file != path:
            digest.update(os.fsencode(file.relative_to(path)) + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def external_files(path: Path) -> list[str]:
    """Return the names of the data files of an ONNX file, sorted, as it spells them; none of one that is damaged."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            model = memoryview(data)
            try:
                return sorted(set(_locations(model)))
            finally:
                model.release()
    except (Damaged, OSError, ValueError, BufferError):
        return []


def _locations(model: memoryview) -> Iterator[str]:
    graphs = messages(model, MODEL_GRAPH)
    nodes = nested(messages(model, MODEL_FUNCTIONS), FUNCTION_NODES)
    tensors: list[memoryview] = []
    while graphs or nodes:
        tensors += nested(graphs, GRAPH_INITIALIZERS)
        attributes = nested([*nodes, *nested(graphs, GRAPH_NODES)], NODE_ATTRIBUTES)
        tensors += nested(attributes, ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS)
        graphs, nodes = nested(attributes, ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS), []
    for entry in nested(tensors, EXTERNAL_DATA):
        if [text(key) for key in messages(entry, KEY)] == ["location"]:
            yield from (text(value) for value in messages(entry, VALUE))
