"""``tensorflow`` with a verified ``tf.lite.TFLiteConverter``."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..live.arrays import as_array
from ..runs.result import Result
from .originals import attributes_of, module_with
from .verification import Conversion, settled

MAX_REPRESENTATIVES = 200  # inputs taken from a representative dataset
Find = Callable[..., tuple[Any, dict[str, Any]]]
"""Takes a constructor's arguments; returns the Source and options of ``safeconvert.check``."""


def from_keras_model(model: Any) -> tuple[Any, dict[str, Any]]:
    return model, {}


def from_saved_model(saved_model_dir: Any, signature_keys: Any = None, tags: Any = None) -> tuple[Any, dict[str, Any]]:
    return Path(saved_model_dir), {"signature": signature_keys[0]} if signature_keys else {}


def from_concrete_functions(funcs: Any, trackable_obj: Any = None) -> tuple[Any, dict[str, Any]]:
    return funcs[0], {}


CONSTRUCTORS: tuple[Find, ...] = (from_keras_model, from_saved_model, from_concrete_functions)
"""Each has the name of the constructor whose arguments it takes."""


class _Converter:
    """A ``TFLiteConverter`` whose ``convert`` verifies; all else is the original's, attributes that are set too."""

    def __init__(self, original: Any, source: Any, options: Mapping[str, Any]) -> None:
        vars(self).update(_original=original, _source=source, _options=options)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_original"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._original, name, value)

    def __dir__(self) -> list[str]:
        return dir(self._original)

    def convert(self) -> bytes:
        """Convert the model, and return the TFLite file once it is verified."""
        returned = self._original.convert()
        inputs = _representatives(self._original.representative_dataset)
        options = {**self._options, **({} if inputs is None else {"inputs": inputs})}
        name = "tf.lite.TFLiteConverter.convert"
        result: bytes = settled(Conversion(name, "tflite", self._source, returned, returned, _bytes, options))
        return result


def _bytes(result: Result) -> Any:
    return result.model


def _representatives(dataset: Any) -> Any:
    """Return the inputs that the model is quantised with, by position or name; None where there are none."""
    if dataset is None:
        return None
    import numpy as np

    samples = list(itertools.islice(getattr(dataset, "input_gen", dataset)(), MAX_REPRESENTATIVES))
    if not samples or not isinstance(samples[0], list | tuple | dict):
        return None
    if isinstance(samples[0], dict):
        return {name: np.concatenate([as_array(sample[name]) for sample in samples]) for name in samples[0]}
    columns = zip(*samples, strict=True)
    return tuple(np.concatenate([as_array(value) for value in column]) for column in columns)


def _verified_converter(original: Any) -> Any:
    """Return a class with the constructors of the original, which make verifying converters."""

    def constructor(find: Callable[..., Any]) -> Any:
        construct = getattr(original, find.__name__)

        @functools.wraps(construct)
        def build(*arguments: Any, **keywords: Any) -> _Converter:
            return _Converter(construct(*arguments, **keywords), *find(*arguments, **keywords))

        return staticmethod(build)

    def new(cls: type, *arguments: Any, **keywords: Any) -> _Converter:
        return _Converter(original(*arguments, **keywords), *from_concrete_functions(*arguments, **keywords))

    members = {find.__name__: constructor(find) for find in CONSTRUCTORS}
    members |= {"__new__": new, "__init__": original.__init__, "__doc__": original.__doc__}
    members["experimental_from_jax"] = original.experimental_from_jax  # no model that could be run beside the result
    return type("TFLiteConverter", (), members)


__getattr__ = attributes_of("tensorflow", lite=module_with(TFLiteConverter=_verified_converter))
