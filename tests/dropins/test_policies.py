"""What a verified converter does where its model differs: it repairs, raises or warns, as it was told."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from safeconvert.dropins import configure, onnx2keras, onnx2torch, onnx_models, onnxmltools, tf2onnx, using
from safeconvert.dropins import tensorflow as dropin_tensorflow
from safeconvert.dropins import torch as dropin_torch
from safeconvert.dropins.originals import attributes_of
from safeconvert.dropins.settings import Policy, current, policy_named
from safeconvert.dropins.verification import Conversion, settled
from safeconvert.errors import BadInput, Diverged
from tests.conftest import conv_net
from tests.support import pool_nets
from tests.support.live_scripts import run_live

POOL = """
import onnx, warnings
from safeconvert.dropins import UnverifiedWarning, last_result, using
from safeconvert.dropins.onnx2keras import onnx_to_keras
import onnx2keras, onnxruntime, tensorflow as tf
from safeconvert.errors import Diverged

model = onnx.load("net.onnx")
x = np.random.default_rng(0).normal(size=(24, *model_sizes)).astype("float32")
(expected,) = onnxruntime.InferenceSession("net.onnx").run(None, {"x": x})
assert abs(onnx2keras.onnx_to_keras(model, ["x"], verbose=False)(x) - expected).numpy().max() > 1e-3
with using("raise", inputs=x):
    try:
        onnx_to_keras(model, ["x"], verbose=False)
    except Diverged as error:
        assert error.verdict == "diverged" and error.report["check"]["inputs"]["count"] == 24
    else:
        raise AssertionError("a wrong model was returned")
with using("warn", inputs=x), warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    wrong = onnx_to_keras(model, ["x"], verbose=False)
assert [w.category for w in caught if "onnx2keras.onnx_to_keras: diverged" in str(w.message)] == [UnverifiedWarning]
assert caught[-1].filename == "<string>"  # the warning is of the person's own line
assert abs(wrong(x) - expected).numpy().max() > 1e-3
with using(inputs=x):
    right = onnx_to_keras(model, ["x"], verbose=False)
assert last_result().verdict == "repaired", last_result()
assert [fault["source_node"] for fault in last_result().report["faults"]] == ["the_pool"]
assert isinstance(right, tf.keras.Model)
assert abs(right(x) - expected).numpy().max() < 1e-4
"""


def test_a_wrong_layer_of_onnx2keras_is_repaired_refused_or_warned_of(tmp_path: Path) -> None:
    onnx.save(pool_nets.net(pool_nets.max_pool("c", "m", "the_pool")), tmp_path / "net.onnx")
    run_live("tensorflow", f"model_sizes = {pool_nets.SIZES!r}\n{POOL}", tmp_path)


def test_a_wrong_model_is_repaired_refused_or_warned_of(onnx_models: Path) -> None:
    source, wrong = onnx_models / "labels.onnx", onnx_models / "labels_off.onnx"
    conversion = Conversion("a converter", "onnx", source, wrong, "returned", lambda result: result.path)
    with using("raise"), pytest.raises(Diverged):
        settled(conversion)
    with using("warn"), pytest.warns(UserWarning, match="a converter: diverged"):
        assert settled(conversion) == "returned"


def test_a_right_model_is_returned_as_it_is(onnx_models: Path) -> None:
    source, copy = onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx"
    assert settled(Conversion("a converter", "onnx", source, copy, "returned", str)) == "returned"


def test_what_cannot_be_compared_is_warned_of_unless_it_must_be_right(onnx_models: Path) -> None:
    conversion = Conversion("a converter", "onnx", onnx_models / "labels.onnx", 3, "returned", str)
    with pytest.warns(UserWarning, match="could not be verified: int is no model"):
        assert settled(conversion) == "returned"
    with using("raise"), pytest.raises(BadInput, match="int is no model"):
        settled(conversion)


def test_the_policy_is_an_argument_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert current().policy_in_force is Policy.REPAIR
    monkeypatch.setenv("SAFECONVERT_POLICY", "warn")
    assert current().policy_in_force is Policy.WARN
    with using("raise", seed=3):
        assert (current().policy_in_force, current().options) == (Policy.RAISE, {"seed": 3})
    with using():
        configure("repair")
        assert current().policy_in_force is Policy.REPAIR
    assert current().policy_in_force is Policy.WARN
    with pytest.raises(BadInput, match="'strict' is not one of repair, raise, warn"):
        policy_named("strict")
    with using(quantise="int8"), pytest.raises(TypeError, match="'quantise' is no option"):
        settled(Conversion("a converter", "onnx", "a.onnx", "b.onnx", None, str))


def test_zeros_of_an_onnx_models_inputs() -> None:
    (zeros,) = onnx_models.example_inputs(conv_net()) or ()
    assert (zeros.shape, zeros.dtype) == ((2, 3, 8, 8), "float32")
    assert onnx_models.example_inputs(conv_net(size="size")) is None


def test_an_attribute_that_the_original_lacks_is_lacking() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        attributes_of("json")("no_such_name")
    assert attributes_of("json", dumps=lambda original: original.__name__)("dumps") == "dumps"
    drop_ins = (dropin_tensorflow, dropin_torch, onnx2keras, onnx2torch, onnxmltools, tf2onnx)
    assert all(callable(module.__getattr__) for module in drop_ins)
