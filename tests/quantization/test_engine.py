"""litert-quantizer is optional: what needs it says so, and TFLiteConverter quantises where it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from safeconvert.errors import BadInput, NotInstalled
from safeconvert.formats import KERAS, ModelFile
from safeconvert.options import Options
from safeconvert.quantization import engine
from safeconvert.runs.argument_checks import check_convert


@pytest.fixture
def source(tmp_path: Path) -> ModelFile:
    (tmp_path / "m.keras").write_bytes(b"")
    return KERAS.written_at(tmp_path / "m.keras")


def check(source: ModelFile, **options: object) -> None:
    check_convert(source, "tflite", Options.of({"inputs": "x.npz", **options}), source.path.with_suffix(".tflite"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"quantize": "weights"}, "--quantize weights"),
        ({"quantize": "int16x8"}, "--quantize int16x8"),
        ({"quantize": "int8", "io_type": "uint8"}, "--io-type uint8"),
        ({"quantize": "int8", "max_latency_ratio": 1.0}, "--max-latency-ratio"),
        ({"quantize": "int8", "quantizer": "litert-quantizer"}, "--quantizer litert-quantizer"),
    ],
)
def test_what_needs_the_engine_names_the_extra_where_it_is_missing(
    options: dict[str, object], named: str, source: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "is_installed", lambda: False)
    with pytest.raises(NotInstalled, match=r"safeconvert\[quantize\]") as raised:
        check(source, **options)
    assert named in str(raised.value)
    monkeypatch.setattr(engine, "is_installed", lambda: True)
    check(source, **options)


@pytest.mark.parametrize("kind", ["float16", "dynamic", "int8"])
def test_tflite_converter_quantises_where_the_engine_is_missing(
    kind: str, source: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "is_installed", lambda: False)
    check(source, quantize=kind)
    assert not engine.quantizes_float_target(kind, "auto")
    monkeypatch.setattr(engine, "is_installed", lambda: True)
    assert engine.quantizes_float_target(kind, "auto")
    assert not engine.quantizes_float_target(kind, "tflite-converter")
    assert not engine.quantizes_float_target("none", "auto")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_latency_ratio": 1.0}, "--max-latency-ratio"),
        ({"max_size": 1.0}, "--max-size"),
        ({"io_type": "int8"}, "--io-type"),
        ({"quantize": "dynamic", "io_type": "int8"}, "--io-type"),
        ({"quantize": "weights", "quantizer": "tflite-converter"}, "--quantizer tflite-converter"),
        ({"quantize": "int8", "max_latency_ratio": 0.0}, "--max-latency-ratio"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object], named: str, source: ModelFile) -> None:
    with pytest.raises(BadInput, match=named):
        check(source, **options)
