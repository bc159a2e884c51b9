"""Which engine quantises, and the handles of what it does in a worker."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from ..errors import NotInstalled
from ..workers.remote import remote

if TYPE_CHECKING:
    from ..runtimes.litert import quantized_file, quantizer, saturation

MODULE, DISTRIBUTION, EXTRA = "litert_quantizer", "litert-quantizer", "quantize"
CONVERTER_KINDS = ("float16", "dynamic", "int8")  # what TFLiteConverter quantises by itself

ACTIVATION_VALUES = remote("runtimes.litert.quantizer", "activation_values", lambda: quantizer.activation_values)
QUANTIZE_FILE = remote("runtimes.litert.quantizer", "quantize_file", lambda: quantizer.quantize_file)
OPERATOR_USES = remote("runtimes.litert.quantized_file", "operator_uses", lambda: quantized_file.operator_uses)
INTEGER_TENSORS = remote("runtimes.litert.quantized_file", "integer_tensors", lambda: quantized_file.integer_tensors)
LATENCIES = remote("runtimes.litert.quantized_file", "latencies", lambda: quantized_file.latencies)
LAYER_ERRORS = remote("runtimes.litert.quantized_file", "layer_errors", lambda: quantized_file.layer_errors)
SATURATED_ACTIVATIONS = remote(
    "runtimes.litert.saturation", "saturated_activations", lambda: saturation.saturated_activations
)


def is_installed() -> bool:
    """Is litert-quantizer installed?"""
    return importlib.util.find_spec(MODULE) is not None


def quantizes_float_target(quantize: str, quantizer: str) -> bool:
    """Is the float Target made first and then quantised by litert-quantizer? Else TFLiteConverter quantises."""
    return quantize != "none" and (quantizer == "litert-quantizer" or (quantizer == "auto" and is_installed()))


def require(option: str) -> None:
    """Raise :class:`NotInstalled` where litert-quantizer, which this option needs, is not installed."""
    if not is_installed():
        raise NotInstalled(
            f"{option} needs {DISTRIBUTION}, which is not installed.\npip install 'safeconvert[{EXTRA}]'"
        )
