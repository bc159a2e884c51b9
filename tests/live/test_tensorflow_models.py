"""Keras models, TensorFlow functions and TFLite bytes of a person's process."""

from __future__ import annotations

from pathlib import Path

from tests.support.live_scripts import run_live

KERAS = """
import keras, tensorflow as tf
keras.utils.set_random_seed(0)
layers = keras.layers
stack = [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(5)]
model = keras.Sequential(stack)
x = np.random.default_rng(0).normal(size=(12, 8, 8, 3)).astype("float32")
"""


def test_a_keras_model_becomes_bytes_and_a_module_of_keras_alone(tmp_path: Path) -> None:
    run_live(
        "tensorflow",
        KERAS
        + """
result = safeconvert.convert(model, to="tflite", inputs=tf.constant(x))
assert result.verdict == "verified" and isinstance(result.model, bytes)
assert "torch" not in sys.modules and "ai_edge_litert" not in sys.modules
assert safeconvert.check(model, result.model, inputs=x).verdict == "verified"
dataset = tf.data.Dataset.from_tensor_slices((x, np.arange(12))).batch(4).repeat()
back = safeconvert.convert(result.model, to="keras", inputs=dataset)
assert back.verdict == "verified" and isinstance(back.model, keras.Model)
assert back.report["check"]["inputs"]["count"] == 512
np.testing.assert_allclose(back.model(x), model(x), atol=1e-4)
""",
        tmp_path,
    )


def test_own_classes_functions_and_modules_become_saved_models(tmp_path: Path) -> None:
    run_live(
        "tensorflow",
        KERAS
        + """
from pathlib import Path
from safeconvert.live.model_file import write
from safeconvert.live.tensorflow_file import describe, keras_inputs
from safeconvert.live.arrays import read

class Own(keras.layers.Layer):
    def call(self, x):
        return x * 2

class Double(tf.Module):
    def __init__(self):
        self.weight = tf.Variable(tf.ones((3, 2)))
    @tf.function
    def __call__(self, x):
        return x @ self.weight

class Whole(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)
    def call(self, x):
        return self.dense(x)

double, row = Double(), np.ones((1, 3), "float32")
tf.saved_model.save(double, "given", signatures=double.__call__.get_concrete_function(tf.TensorSpec([None, 3])))
assert [describe(model), describe(double)] == ["keras.Model Sequential", "tf.Module Double"]
assert len(keras_inputs(model)) == 1 and keras_inputs(Whole()) == []
own = keras.Sequential([keras.Input((3,)), Own()])
function = tf.function(lambda x: x @ double.weight, input_signature=[tf.TensorSpec([None, 3])])
for index, (given, example, flavour) in enumerate([
    (model, None, "keras"),
    (own, None, "savedmodel"),
    (Whole(), row, "savedmodel"),
    (double, row, "savedmodel"),
    (function, None, "savedmodel"),
    (tf.function(lambda x: x @ double.weight), {"x": row}, "savedmodel"),
    (tf.saved_model.load("given"), None, "savedmodel"),
]):
    Path(str(index)).mkdir()
    written = write(given, Path(str(index)) / "model", None if example is None else read(example, None), {})
    assert written.file.flavour == flavour, (index, written)
    if flavour == "savedmodel":
        signature = tf.saved_model.load(f"{index}/model").signatures["serving_default"]
        shape = next(iter(signature.structured_input_signature[1].values())).shape
        assert shape.as_list() == [None, 3], (index, shape)
for unknown in (Whole(), double):
    try:
        write(unknown, Path("0/other"), None, {})
    except safeconvert.BadInput as error:
        assert "input" in str(error) and "inputs=x" in str(error)
    else:
        raise AssertionError("nothing was said")
rows = np.random.default_rng(0).normal(size=(9, 3)).astype("float32")
assert safeconvert.check(double, function, inputs=rows).verdict == "verified"
""",
        tmp_path,
    )
