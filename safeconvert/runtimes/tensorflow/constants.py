"""The constants of a frozen SavedModel, which has no variables: read from its file, and written into a copy of it.

Runs in a worker.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from ..trace_store import Array, all_known, checked

FILE = "saved_model.pb"


def constants(path: str) -> dict[str, Array]:
    """The floating-point constants of rank 1 or more by name: the node's, with the function's before it if need be."""
    return {name: tf.make_ndarray(nodes[0].attr["value"].tensor) for name, nodes in _nodes_by_name(_read(path)).items()}


def replace_constants(path: str, target: str, values: dict[str, Array]) -> None:
    """Write the SavedModel at ``target`` with the constants in ``values`` (name -> array of the same shape) replaced.

    Raises ValueError for an unknown name or another shape.
    """
    saved = _read(path)
    nodes_by_name = _nodes_by_name(saved)
    all_known(values, nodes_by_name)
    for name, value in values.items():
        for node in nodes_by_name[name]:
            old = node.attr["value"].tensor
            shape = [dimension.size for dimension in old.tensor_shape.dim]
            new = tf.make_tensor_proto(checked(name, value, shape), dtype=old.dtype, shape=shape)
            old.CopyFrom(new)
    shutil.copytree(path, target, dirs_exist_ok=True)
    Path(target, FILE).write_bytes(saved.SerializeToString())


def _read(path: str) -> Any:
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(Path(path, FILE).read_bytes())
    return saved


def _nodes_by_name(saved: Any) -> dict[str, list[Any]]:
    """The constants' nodes by name. A function may be written twice: equal nodes of one name are one constant."""
    named: dict[str, list[tuple[str, Any]]] = {}
    for function, node in _nodes(saved):
        named.setdefault(node.name, []).append((function, node))
    nodes_by_name: dict[str, list[Any]] = {}
    for name, places in named.items():
        first = tf.make_ndarray(places[0][1].attr["value"].tensor)
        if all(np.array_equal(tf.make_ndarray(node.attr["value"].tensor), first) for _, node in places):
            nodes_by_name[name] = [node for _, node in places]
        else:
            for function, node in places:
                nodes_by_name.setdefault(f"{function}/{name}", []).append(node)
    return nodes_by_name


def _nodes(saved: Any) -> Iterator[tuple[str, Any]]:
    """The floating-point constants of rank 1 or more, each after its function's name, or "" outside of functions."""
    for meta in saved.meta_graphs:
        places = [("", meta.graph_def.node)]
        places += [(function.signature.name, function.node_def) for function in meta.graph_def.library.function]
        for function, nodes in places:
            for node in nodes:
                value = node.attr["value"].tensor if node.op == "Const" else None
                if value is not None and tf.as_dtype(value.dtype).is_floating and value.tensor_shape.dim:
                    yield function, node
