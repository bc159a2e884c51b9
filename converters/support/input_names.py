"""Give a model's inputs names that every framework takes. Worker side.

ONNX lets a name be any text, and tf2onnx writes ``serving_default_image:0``; torch.export and SavedModel signatures
need identifiers, and fail on others only when the file is read again.
"""

from __future__ import annotations

import keyword
import re
from typing import Any


def with_plain_inputs(model: Any) -> Any:
    """Make the names of the ONNX model's inputs identifiers, in place; names that are so already stay.

    In node names the comma and the semicolon go too: torch.export.save separates fields with them.
    """
    for node in model.graph.node:
        node.name = re.sub(r"[;,]", "_", node.name)
    constants = {tensor.name for tensor in model.graph.initializer}
    names_in_use = {name for node in model.graph.node for name in (*node.input, *node.output)}
    for entry in model.graph.input:
        if entry.name in constants or (entry.name.isidentifier() and not keyword.iskeyword(entry.name)):
            continue
        plain = re.sub(r"\W", "_", re.sub(r":\d+$", "", entry.name)) or "input"
        plain = plain if plain.isidentifier() and not keyword.iskeyword(plain) else f"input_{plain}"
        while plain in names_in_use:
            plain += "_"
        names_in_use.add(plain)
        for node in model.graph.node:
            node.input[:] = [plain if name == entry.name else name for name in node.input]
        entry.name = plain
    return model
