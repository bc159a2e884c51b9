"""What each framework can do with a model, as functions that the parent calls in a worker: the runtimes' protocol.

Each folder of ``safeconvert/runtimes`` is one framework and has the same files: ``model.py`` (:class:`Load`),
``trace.py`` (:class:`Trace`), ``parameters.py`` (:class:`ReadParameters`, :class:`ReplaceParameters`), ``settings.py``
(:class:`ReadSettings`, :class:`ChangeSettings`) and ``input_shapes.py`` (:class:`ChangeInputShapes`). A framework that
cannot do one of these lacks the file, and its :class:`Runtime` has None there. The protocols below state the arguments
and answers; mypy holds each framework's functions to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .remote import remote

if TYPE_CHECKING:
    import numpy as np

    from ..records import LoadOptions, Settings, Signature
    from ..runtimes.litert import input_shapes as litert_input_shapes
    from ..runtimes.litert import model as litert_model
    from ..runtimes.litert import parameters as litert_parameters
    from ..runtimes.litert import settings as litert_settings
    from ..runtimes.litert import tensorflow_interpreter
    from ..runtimes.litert import trace as litert_trace
    from ..runtimes.onnxruntime import model as onnxruntime_model
    from ..runtimes.onnxruntime import parameters as onnxruntime_parameters
    from ..runtimes.pytorch import input_shapes as pytorch_input_shapes
    from ..runtimes.pytorch import model as pytorch_model
    from ..runtimes.pytorch import parameters as pytorch_parameters
    from ..runtimes.pytorch import settings as pytorch_settings
    from ..runtimes.pytorch import trace as pytorch_trace
    from ..runtimes.tensorflow import input_shapes as tensorflow_input_shapes
    from ..runtimes.tensorflow import model as tensorflow_model
    from ..runtimes.tensorflow import parameters as tensorflow_parameters
    from ..runtimes.tensorflow import settings as tensorflow_settings
    from ..runtimes.tensorflow import trace as tensorflow_trace
    from ..runtimes.trace_store import ParameterRecord, TraceRecord
    from ..runtimes.tvm import model as tvm_model
    from .pool import Worker

    Array = np.ndarray[Any, Any]

Sizes = dict[str, list[int | None]]
"""Sizes by input name, batch first; None where the size is free."""


class Load(Protocol):
    """Load the model at ``path`` and register it under its path; return its signature.

    ``flavour`` is the format's kind of file (see :class:`safeconvert.formats.ModelFile`).
    """

    def __call__(
        self, worker: Worker, timeout: float | None, /, *, path: str, flavour: str, options: LoadOptions
    ) -> Signature: ...


class Trace(Protocol):
    """Run the model on ``arrays`` (input name -> array, batch first) and write every activation into ``store``.

    ``store`` becomes an ``.npz`` file; the answer has one record for each tensor in it, in execution order.
    ``with_integers`` keeps whole numbers and truth values that are computed from the inputs' values too.
    """

    def __call__(
        self,
        worker: Worker,
        timeout: float | None,
        /,
        *,
        path: str,
        arrays: dict[str, Array],
        store: str,
        with_integers: bool = False,
    ) -> list[TraceRecord]: ...


class ReadParameters(Protocol):
    """Write every trained array of the model into ``store`` (``.npz``, float32); return one record for each."""

    def __call__(self, worker: Worker, timeout: float | None, /, *, path: str, store: str) -> list[ParameterRecord]: ...


class ReplaceParameters(Protocol):
    """Write the model at ``target`` with the arrays in ``values`` in place of its own; return the file's flavour."""

    def __call__(
        self, worker: Worker, timeout: float | None, /, *, path: str, target: str, values: dict[str, Array]
    ) -> str: ...


class ReadSettings(Protocol):
    """Return the settings of the layer or operator ``place`` by the framework's own names."""

    def __call__(self, worker: Worker, timeout: float | None, /, *, path: str, place: str) -> Settings: ...


class ChangeSettings(Protocol):
    """Write the model at ``target`` with other settings of the layer or operator ``place``; return the flavour."""

    def __call__(
        self, worker: Worker, timeout: float | None, /, *, path: str, target: str, place: str, values: Settings
    ) -> str: ...


class ChangeInputShapes(Protocol):
    """Write the model at ``target`` with these input shapes declared; return the flavour."""

    def __call__(self, worker: Worker, timeout: float | None, /, *, path: str, target: str, shapes: Sizes) -> str: ...


@dataclass(frozen=True)
class Runtime:
    """One framework that runs models, and the handles of its functions (None: it cannot do that).

    ``package`` is its folder in ``safeconvert/runtimes``, ``worker`` the kind of worker that hosts it, ``module`` what
    must be importable for it, ``extra`` the extra of safeconvert that installs it.
    """

    name: str
    package: str
    worker: str
    module: str
    extra: str
    load: Load
    trace: Trace | None = None
    read_parameters: ReadParameters | None = None
    replace_parameters: ReplaceParameters | None = None
    read_settings: ReadSettings | None = None
    change_settings: ChangeSettings | None = None
    change_input_shapes: ChangeInputShapes | None = None


PYTORCH = Runtime(
    name="torch",
    package="pytorch",
    worker="torch",
    module="torch",
    extra="torch",
    load=remote("runtimes.pytorch.model", "load", lambda: pytorch_model.load),
    trace=remote("runtimes.pytorch.trace", "trace", lambda: pytorch_trace.trace),
    read_parameters=remote(
        "runtimes.pytorch.parameters", "read_parameters", lambda: pytorch_parameters.read_parameters
    ),
    replace_parameters=remote(
        "runtimes.pytorch.parameters", "replace_parameters", lambda: pytorch_parameters.replace_parameters
    ),
    read_settings=remote("runtimes.pytorch.settings", "read_settings", lambda: pytorch_settings.read_settings),
    change_settings=remote("runtimes.pytorch.settings", "change_settings", lambda: pytorch_settings.change_settings),
    change_input_shapes=remote(
        "runtimes.pytorch.input_shapes", "change_input_shapes", lambda: pytorch_input_shapes.change_input_shapes
    ),
)
TENSORFLOW = Runtime(
    name="tensorflow",
    package="tensorflow",
    worker="tensorflow",
    module="tensorflow",
    extra="tensorflow",
    load=remote("runtimes.tensorflow.model", "load", lambda: tensorflow_model.load),
    trace=remote("runtimes.tensorflow.trace", "trace", lambda: tensorflow_trace.trace),
    read_parameters=remote(
        "runtimes.tensorflow.parameters", "read_parameters", lambda: tensorflow_parameters.read_parameters
    ),
    replace_parameters=remote(
        "runtimes.tensorflow.parameters", "replace_parameters", lambda: tensorflow_parameters.replace_parameters
    ),
    read_settings=remote("runtimes.tensorflow.settings", "read_settings", lambda: tensorflow_settings.read_settings),
    change_settings=remote(
        "runtimes.tensorflow.settings", "change_settings", lambda: tensorflow_settings.change_settings
    ),
    change_input_shapes=remote(
        "runtimes.tensorflow.input_shapes", "change_input_shapes", lambda: tensorflow_input_shapes.change_input_shapes
    ),
)
LITERT = Runtime(
    name="LiteRT",
    package="litert",
    worker="onnx_tflite",
    module="ai_edge_litert",
    extra="tensorflow",
    load=remote("runtimes.litert.model", "load", lambda: litert_model.load),
    trace=remote("runtimes.litert.trace", "trace", lambda: litert_trace.trace),
    read_parameters=remote("runtimes.litert.parameters", "read_parameters", lambda: litert_parameters.read_parameters),
    replace_parameters=remote(
        "runtimes.litert.parameters", "replace_parameters", lambda: litert_parameters.replace_parameters
    ),
    read_settings=remote("runtimes.litert.settings", "read_settings", lambda: litert_settings.read_settings),
    change_settings=remote("runtimes.litert.settings", "change_settings", lambda: litert_settings.change_settings),
    change_input_shapes=remote(
        "runtimes.litert.input_shapes", "change_input_shapes", lambda: litert_input_shapes.change_input_shapes
    ),
)
ONNXRUNTIME = Runtime(  # an ONNX graph is traced, changed and written by repair/graph, which needs no runtime for it
    name="onnxruntime",
    package="onnxruntime",
    worker="onnx_tflite",
    module="onnxruntime",
    extra="onnx",
    load=remote("runtimes.onnxruntime.model", "load", lambda: onnxruntime_model.load),
    read_parameters=remote(
        "runtimes.onnxruntime.parameters", "read_parameters", lambda: onnxruntime_parameters.read_parameters
    ),
)
TVM = Runtime(  # compiles ONNX files for the arrays they are run on: see TVM_ACTIVATIONS
    name="Apache TVM",
    package="tvm",
    worker="tvm",
    module="tvm",
    extra="tvm",
    load=remote("runtimes.tvm.model", "load", lambda: tvm_model.load),
)
RUNTIMES = (PYTORCH, TENSORFLOW, ONNXRUNTIME, LITERT, TVM)

TENSORFLOW_INTERPRETER = Runtime(  # TFLite files in a second runtime: it only runs them
    name="TensorFlow's own interpreter",
    package="litert",
    worker="tensorflow",
    module="tensorflow",
    extra="tensorflow",
    load=remote("runtimes.litert.tensorflow_interpreter", "load", lambda: tensorflow_interpreter.load),
)


def runtimes_of_workers() -> Mapping[str, tuple[Runtime, ...]]:
    """The runtimes that each kind of worker hosts, in the order of ``RUNTIMES``."""
    hosted: dict[str, tuple[Runtime, ...]] = {}
    for runtime in RUNTIMES:
        hosted[runtime.worker] = (*hosted.get(runtime.worker, ()), runtime)
    return hosted
