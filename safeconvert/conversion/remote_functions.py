"""Typed handles of the worker functions that conversion asks for; converters' own are fields of their hops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..workers.remote import remote

if TYPE_CHECKING:
    from ..converters.support import input_layout
    from ..repair.graph import neighbourhood
    from ..repair.localization import node_replay
    from ..repair.rewrites import forms

ACTIVATIONS = remote("repair.localization.node_replay", "activations", lambda: node_replay.activations)
RUNTIME_ACTIVATIONS = remote(
    "repair.localization.node_replay", "runtime_activations", lambda: node_replay.runtime_activations
)
WRITE_PIECES = remote("repair.localization.node_replay", "write_pieces", lambda: node_replay.write_pieces)
NEIGHBOURHOODS = remote("repair.graph.neighbourhood", "neighbourhoods", lambda: neighbourhood.neighbourhoods)
NODES_NAMED_AFTER = remote("repair.graph.neighbourhood", "nodes_named_after", lambda: neighbourhood.nodes_named_after)
NODE_KINDS = remote("repair.localization.node_replay", "kinds", lambda: node_replay.kinds)
WRITE_FORM = remote("repair.rewrites.forms", "write", lambda: forms.write)
PERMUTE_ONNX_INPUTS = remote(
    "converters.support.input_layout", "permute_onnx_inputs", lambda: input_layout.permute_onnx_inputs
)
