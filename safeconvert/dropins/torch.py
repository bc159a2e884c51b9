"""``torch`` with a verified ``torch.onnx.export``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..live.model_file import ModelWithExample
from ..runs.result import Result
from .onnx_models import as_ir_model
from .originals import attributes_of, function_read_by, module_with
from .verification import Conversion


def _read_export(arguments: Mapping[str, Any], returned: Any) -> Conversion:
    """``torch.onnx.export`` writes a file, returns a program, or both."""
    example, path = arguments["args"], arguments["f"]
    example = example if isinstance(example, tuple | list) else (example,)
    source = ModelWithExample(arguments["model"], tuple(example) or None)

    def replaced(result: Result) -> Any:
        if path is not None:
            shutil.copyfile(str(result.path), path)
        if returned is not None:
            returned.model = as_ir_model(result.model)
        return returned

    target = Path(path) if path is not None else getattr(returned, "model_proto", None)
    return Conversion("torch.onnx.export", "onnx", source, target, returned, replaced, _opset(arguments))


def _opset(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {} if arguments["opset_version"] is None else {"opset": arguments["opset_version"]}


__getattr__ = attributes_of("torch", onnx=module_with(export=function_read_by(_read_export)))
