"""The plain form of a TensorFlow function gives the same values, from operators that the converters get right.

TensorFlow stays out of the test process: this file, run as a script, is the child that makes forms and runs them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

SHAPE = (9, 14, 4)
# For every rewrite: the converter it is for, a function of an image batch (its source text, with `tf`, `np` and `raw`),
# and the operator that the form must no longer hold.
REWRITES: dict[str, tuple[str, str, str]] = {
    "area": ("tf2onnx", "tf.image.resize(x, (5, 8), 'area')", "ResizeArea"),
    "area, corners aligned": ("tflite", "raw.ResizeArea(images=x, size=[18, 5], align_corners=True)", "ResizeArea"),
    "bicubic": ("tflite", "tf.image.resize(x, (13, 9), 'bicubic')", "ResizeBicubic"),
    "legacy bicubic": ("tf2onnx", "raw.ResizeBicubic(images=x, size=[18, 28])", "ResizeBicubic"),
    "legacy nearest": ("tf2onnx", "raw.ResizeNearestNeighbor(images=x, size=[5, 8])", "ResizeNearestNeighbor"),
    "lanczos": ("tf2onnx", "tf.image.resize(x, (5, 17), 'lanczos3', antialias=True)", "ScaleAndTranslate"),
    "patches": ("tf2onnx", "tf.image.extract_patches(x, [1,3,2,1], [1,2,1,1], [1,1,2,1], 'SAME')",
                "ExtractImagePatches"),
    "crops": ("tflite", "tf.image.crop_and_resize(x, [[-.1,.2,.9,1.1],[0.,0.,1.,1.]], [0, 1], (5, 6))",
              "CropAndResize"),
    "nearest crops": ("tflite", "tf.image.crop_and_resize(x, [[.1,.2,.9,.8]], [1], (5, 6), 'nearest')",
                      "CropAndResize"),
    "hsv": ("tf2onnx", "tf.image.rgb_to_hsv(tf.sigmoid(x[..., :3]))", "RGBToHSV"),
    "rgb": ("tf2onnx", "tf.image.hsv_to_rgb(tf.sigmoid(x[..., :3]))", "HSVToRGB"),
    "hue": ("tflite", "tf.image.adjust_hue(tf.sigmoid(x[..., :3]), .3)", "AdjustHue"),
    "saturation": ("tf2onnx", "tf.image.adjust_saturation(tf.sigmoid(x[..., :3]), 1.7)", "AdjustSaturation"),
    "contrast": ("tflite", "tf.image.adjust_contrast(x, 1.7)", "AdjustContrastv2"),
    "output beyond the windows": ("tf2onnx", "tf.nn.conv2d_transpose(x, noise(2,3,6,4), [tf.shape(x)[0],27,42,6], 3,"
                                  " 'VALID')", ""),
    "dilated transposed convolution": ("tflite", "tf.nn.conv2d_transpose(x, noise(3,3,6,4), [tf.shape(x)[0],9,14,6],"
                                       " 1, 'SAME', dilations=2)", ""),
    "windows far apart": ("tflite", "tf.nn.conv2d(x, noise(3,3,4,6), [1,5,4,1], 'SAME')", ""),
    "windows far apart, each channel": ("tflite", "tf.nn.depthwise_conv2d(x, noise(3,2,4,2), [1,5,5,1], 'SAME')", ""),
    "dilation": ("tflite", "tf.nn.dilation2d(x, noise(3,2,4), [1,2,1,1], 'SAME', 'NHWC', [1,1,2,1])", "Dilation2D"),
    "explicit pads": ("tflite", "tf.nn.max_pool2d(x - 9, 3, 2, [[0,0],[1,0],[1,1],[0,0]])", ""),
    "pooling with unused places": ("tflite", "tf.nn.max_pool_with_argmax(x, 2, 2, 'SAME')[0]", "MaxPoolWithArgmax"),
    "largest of volumes": ("tflite", "tf.nn.max_pool3d(tf.reshape(x - 9, [-1,9,7,2,4]), 3, 2, 'SAME')", "MaxPool3D"),
    "mean of volumes": ("tflite", "tf.nn.avg_pool3d(tf.reshape(x, [-1,9,7,2,4]), 3, 2, 'SAME')", "AvgPool3D"),
    "floor division": ("tf2onnx", "whole(x) // -4", "FloorDiv"),
    "floor remainder": ("tf2onnx", "whole(x) % (whole(tf.reverse(x, [1])) * 2 + 1)", "FloorMod"),
    "truncated remainder": ("tf2onnx", "tf.truncatemod(x, .7)", "TruncateMod"),
    "softplus": ("tflite", "tf.nn.softplus(x * 60)", "Softplus"),
    "expm1": ("tf2onnx", "tf.math.expm1(x)", "Expm1"),
    "log1p": ("tf2onnx", "tf.math.log1p(tf.abs(x)) + tf.math.log1p(x * 1e-8) * 1e8", "Log1p"),
    "log1p and expm1": ("tflite", "tf.math.log1p(x * 1e-8) * 1e8 + tf.math.expm1(x * 1e-8) * 1e8", "Log1p"),
    "erf": ("tflite", "tf.math.erf(x)", "Erf"),
    "erfc": ("tflite", "tf.math.erfc(x)", "Erfc"),
    "exact gelu": ("tf2onnx", "tf.nn.gelu(x)", "Erfc"),
    "xlogy": ("tf2onnx", "tf.math.xlogy(tf.nn.relu(x), tf.nn.relu(x))", "Xlogy"),
    "xdivy": ("tf2onnx", "tf.math.xdivy(tf.nn.relu(x), tf.nn.relu(x))", "Xdivy"),
    "arcsine": ("tflite", "tf.asin(tf.tanh(x)) + tf.acos(tf.tanh(x)) * 2", "Asin"),
    "inverse hyperbolic": ("tflite", "tf.asinh(x) + tf.acosh(tf.abs(x) + 1) + tf.atanh(tf.tanh(x) * .9)", "Asinh"),
    "hyperbolic": ("tflite", "tf.sinh(x) + tf.cosh(x) * 2", "Sinh"),
    "tangent": ("tflite", "tf.tan(tf.tanh(x)) + tf.atan(x)", "Tan"),
    "infinity": ("tflite", "tf.where(tf.math.is_inf(1 / tf.nn.relu(x)), -1., x)", "IsInf"),
    "clipping": ("tflite", "tf.saturate_cast(x * 100, tf.uint8)", "ClipByValue"),
    "shift": ("tflite", "tf.bitwise.left_shift(whole(x), 2) + tf.bitwise.invert(whole(x))", "LeftShift"),
    "sign bits": ("tf2onnx", "tf.bitwise.bitwise_and(tf.bitcast(tf.round(x * 2) * -1, tf.int32), tf.int32.min)",
                  "BitwiseAnd"),
    "sign bits in TFLite": ("tflite", "tf.bitwise.bitwise_and(tf.bitcast(tf.round(x * 2) * -1, tf.int32),"
                            " tf.int32.min)", "BitwiseAnd"),
    "fake quantisation": ("tf2onnx", "tf.quantization.fake_quant_with_min_max_args(x, -1.3, 2.1)",
                          "FakeQuantWithMinMaxArgs"),
    "unstack and concat": ("tflite", "tf.concat(tf.unstack(x, axis=2), axis=1)", "Unpack"),
    "roll": ("tflite", "tf.roll(x, [3, -2], [1, 3])", "Roll"),
    "roll in ONNX": ("tf2onnx", "tf.roll(x, [3, -2], [1, 3])", "Roll"),
    "cumulative product": ("tflite", "tf.math.cumprod(x, 2, exclusive=True, reverse=True)", "Cumprod"),
    "cumulative logsumexp": ("tf2onnx", "tf.math.cumulative_logsumexp(x, 1)", "CumulativeLogsumexp"),
    "buckets": ("tf2onnx", "raw.Bucketize(input=x, boundaries=[-1., 0., .5])", "Bucketize"),
    "sorted search": ("tf2onnx", "tf.searchsorted([[-1., 0., .5]], tf.reshape(x, [1, -1]))", "LowerBound"),
    "sorted search from the right": ("tf2onnx", "tf.searchsorted([[-1., 0., .5]], tf.reshape(tf.round(x), [1, -1]),"
                                     " side='right')", "UpperBound"),
    "norm": ("tf2onnx", "tf.math.reduce_euclidean_norm(x, [1, 2])", "EuclideanNorm"),
    "diagonal": ("tflite", "tf.linalg.diag_part(x)", "MatrixDiagPartV3"),
    "cross product": ("tf2onnx", "tf.linalg.cross(x[..., :3], x[..., 1:])", "Cross"),
    "einsum": ("tflite", "tf.einsum('bhwc,hwc->bc', x, noise(9,14,4))", "Einsum"),
    "einsum over a diagonal": ("tflite", "tf.einsum('bii->bi', x[:, :, :9, 0])", "Einsum"),
}  # fmt: skip


def worker(task: str, *arguments: str) -> Any:
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, __file__, task, *arguments],
        env=quiet,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def rewritten() -> dict[str, dict[str, Any]]:
    return dict(worker("rewrites"))


@pytest.mark.parametrize("name", REWRITES)
def test_a_rewrite_gives_the_same_values_without_the_operator_and_leaves_the_batch_free(
    name: str, rewritten: dict[str, dict[str, Any]]
) -> None:
    facts = rewritten[name]
    assert facts["same_shape"]
    assert facts["difference"] <= 1e-5
    assert facts["operators"] != facts["original"]
    gone = REWRITES[name][2]
    assert not gone or (gone in facts["original"] and gone not in facts["operators"])
    assert facts["static"] == facts["static_before"]
    assert facts["input"] == ["image", [None, *SHAPE]]


def test_sizes_are_static_where_all_are_known(rewritten: dict[str, Any]) -> None:
    assert rewritten["static_sizes"] == [[3, 4], None, None]


@pytest.mark.parametrize("file", ["axes", "elementwise", "images", "windows"])
def test_each_file_of_rewrites_has_its_own(file: str, rewritten: dict[str, dict[str, Any]]) -> None:
    own = set(rewritten["files"][file])
    assert own
    assert all(own.isdisjoint(ops) for name, ops in rewritten["files"].items() if name != file)
    assert own <= {op for table in rewritten["tables"].values() for op in table}


def test_every_rewrite_is_tested(rewritten: dict[str, dict[str, Any]]) -> None:
    listed = {op for table in rewritten["tables"].values() for op in table}
    assert listed
    assert {op for name in REWRITES for op in rewritten[name]["original"]} >= listed


@pytest.fixture(scope="module")
def replayed() -> dict[str, Any]:
    return dict(worker("replays"))


def test_a_wrong_rewrite_shows_in_the_values(replayed: dict[str, Any]) -> None:
    assert replayed["right"] <= 1e-5
    assert replayed["wrong"] > 0.1


def test_what_needs_no_rewrite_stays_as_it_is(replayed: dict[str, Any]) -> None:
    assert replayed["kept"] == replayed["kept_before"]


def test_calls_branches_and_loops_keep_their_meaning(replayed: dict[str, Any]) -> None:
    assert replayed["calls"] <= 1e-5
    assert "PartitionedCall" not in replayed["call_operators"]
    assert replayed["loop"] <= 1e-5
    assert "StatelessWhile" in replayed["loop_operators"]


def test_constants_that_wait_for_other_operations_are_folded_without_these(replayed: dict[str, Any]) -> None:
    assert replayed["guarded"] <= 1e-5


def test_inputs_and_outputs_keep_names_order_and_structure(replayed: dict[str, Any]) -> None:
    assert replayed["inputs"] == ["zebra", "apple"]
    assert replayed["outputs"] == ["first", "second"]
    assert replayed["two"] <= 1e-5


def test_sizes_computed_from_the_batch_stay_computed(replayed: dict[str, Any]) -> None:
    assert replayed["batches"] == [1, 2, 5]
    assert replayed["sized"] <= 1e-5


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return dict(worker("hops", str(tmp_path_factory.mktemp("hops"))))


@pytest.mark.parametrize("target", ["onnx", "tflite"])
@pytest.mark.parametrize("source", ["keras", "tf"])
def test_the_hops_that_take_the_form_write_a_file_that_is_right(
    source: str, target: str, written: dict[str, Any]
) -> None:
    facts = written[f"{source}->{target}"]
    assert facts["as it is"] > 0.1  # what the form is for
    assert facts["plain"] <= 1e-4
    assert facts["name"] == facts["plainly named"]
    assert target == "tflite" or not isinstance(facts["batch"], int)


# The child's side --------------------------------------------------------------------------------------------


def _difference(a: Any, b: Any) -> float:
    import numpy as np

    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    return float(np.max(np.abs(a - b)) / max(np.max(np.abs(a)), 1e-12))


def _function(text: str) -> Any:
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(3)
    names = {
        "tf": tf,
        "raw": tf.raw_ops,
        "noise": lambda *shape: random.normal(size=shape).astype(np.float32),
        "whole": lambda x: tf.cast(tf.round(x * 5), tf.int32),
    }
    body = eval(f"lambda x: {text}", names)  # noqa: S307  (the texts above)
    spec = [tf.TensorSpec([None, *SHAPE], tf.float32, name="image")]
    return tf.function(lambda image: body(image), input_signature=spec, autograph=False).get_concrete_function()


def _kinds(function: Any) -> list[str]:
    return sorted(op.type for op in function.graph.get_operations())


def _rewrites() -> dict[str, Any]:
    import numpy as np
    import tensorflow as tf
    from safeconvert.converters.forms.tensorflow import axes, elementwise, images, node, windows
    from safeconvert.converters.forms.tensorflow.plain import TABLES, plain

    image = np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32)
    facts: dict[str, Any] = {"tables": {converter: sorted(table) for converter, table in TABLES.items()}}
    files = {"axes": axes, "elementwise": elementwise, "images": images, "windows": windows}
    facts["files"] = {name: sorted({*file.TF2ONNX, *file.TFLITE}) for name, file in files.items()}
    facts["static_sizes"] = [
        node.static(tf.TensorSpec([None, 3, 4]), 1, 2),
        node.static(tf.TensorSpec([None, 3, 4]), 0, 1),
        node.static(tf.TensorSpec(None), 0),
    ]
    for name, (converter, text, _) in REWRITES.items():
        before = _function(text)
        after = plain(before, converter).get_concrete_function()
        expected, actual = before(tf.constant(image)), after(tf.constant(image))
        [spec] = after.structured_input_signature[0]
        facts[name] = {
            "difference": _difference(expected, actual),
            "same_shape": expected.shape == actual.shape and expected.dtype == actual.dtype,
            "original": _kinds(before),
            "operators": _kinds(after),
            "static": after.outputs[0].shape[0],
            "static_before": before.outputs[0].shape[0],
            "input": [spec.name, list(spec.shape)],
        }
    return facts


def _replays() -> dict[str, Any]:
    import keras
    import numpy as np
    import tensorflow as tf
    from safeconvert.converters.forms.tensorflow.plain import plain

    image = tf.constant(np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32))
    facts: dict[str, Any] = {}

    rolled = _function("tf.roll(x, 2, 1)")
    facts["right"] = _difference(rolled(image), plain(rolled, "tflite")(image))
    wrong = {"Roll": lambda node: tf.reverse(node.inputs[0], [1])}
    facts["wrong"] = _difference(rolled(image), plain(rolled, "tflite", table=wrong)(image))

    kept = _function("tf.nn.max_pool2d(tf.nn.elu(tf.nn.conv2d(x, noise(3,3,4,6), 2, 'SAME')), 2, 2, 'SAME')")
    facts["kept_before"] = sorted({*_kinds(kept)})
    facts["kept"] = sorted({*_kinds(plain(kept, "tf2onnx").get_concrete_function())})

    layer = keras.layers.Conv2D(6, 3, groups=2)  # behind a call that XLA compiles, which tf2onnx does not look into
    layer.build((None, *SHAPE))
    spec = tf.TensorSpec([None, *SHAPE], tf.float32, name="image")
    called = tf.function(lambda image: layer(image), input_signature=[spec]).get_concrete_function()
    form = plain(called, "tf2onnx")
    facts["calls"] = _difference(called(image), form(image))
    facts["call_operators"] = _kinds(form.get_concrete_function())

    def guarded(image: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_less(image, 1e9)]):
            return tf.identity(tf.constant(2.0)) * tf.exp(tf.constant(0.5)) * image

    waiting = tf.function(guarded, input_signature=[spec]).get_concrete_function()
    facts["guarded"] = _difference(waiting(image), plain(waiting, "tf2onnx")(image))

    loop = _function("tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.nn.elu(y) * 1.1), [0, x])[1]")
    form = plain(loop, "tflite")
    facts["loop"] = _difference(loop(image), form(image))
    facts["loop_operators"] = _kinds(form.get_concrete_function())

    two = tf.function(
        lambda zebra, apple: {"second": tf.roll(zebra, 1, 1), "first": apple[..., ::-1]},
        input_signature=[
            tf.TensorSpec([None, *SHAPE], tf.float32, name="zebra"),
            tf.TensorSpec([None, 5], tf.float32, name="apple"),
        ],
        autograph=False,
    ).get_concrete_function()
    after = plain(two, "tflite").get_concrete_function()
    apple = tf.constant(np.arange(15, dtype=np.float32).reshape(3, 5))
    expected, actual = two(image, apple), after(image, apple)
    facts["inputs"] = [spec.name for spec in after.structured_input_signature[0]]
    facts["outputs"] = sorted(after.structured_outputs)
    facts["two"] = max(_difference(expected[key], actual[key]) for key in expected)

    text = "tf.reshape(tf.transpose(x, [0, 3, 1, 2]), tf.stack([tf.shape(x)[0], tf.shape(x)[3], -1]))"
    sized = _function(f"tf.tile({text} * tf.cast(tf.shape(x)[0], tf.float32), [1, tf.shape(x)[1], 1])")
    form = plain(sized, "tflite")
    outputs = [(sized(image_), form(image_)) for image_ in (image[:1], image[:2], tf.concat([image, image[:2]], 0))]
    facts["batches"] = [int(after.shape[0]) for _, after in outputs]
    facts["sized"] = max(_difference(before, after) for before, after in outputs)
    return facts


def _save(model: Any, spec: Any, folder: str) -> None:
    import tensorflow as tf

    model.scores = tf.function(lambda image: {"scores": model(image)}, input_signature=[spec])
    tf.saved_model.save(model, folder, signatures={"serving_default": model.scores})


def _hops(folder: str) -> dict[str, Any]:
    import keras
    import numpy as np
    import tensorflow as tf
    from safeconvert.converters import keras_onnx, tensorflow_tflite, tf_onnx

    from safeconvert.runtimes.litert.model import load_tflite
    from safeconvert.runtimes.onnxruntime.model import load_onnx

    hops: dict[tuple[str, str], Callable[..., None]] = {
        ("keras", "onnx"): keras_onnx.function,
        ("keras", "tflite"): tensorflow_tflite.keras_function,
        ("tf", "onnx"): tf_onnx.convert,
        ("tf", "tflite"): tensorflow_tflite.saved_model,
    }
    facts: dict[str, Any] = {}
    for target, batch in (("onnx", None), ("tflite", 1)):
        keras.utils.set_random_seed(1)
        image = keras.Input((8, 12, 3), batch_size=batch, name="image")
        x = keras.layers.Conv2D(6, 3, padding="same")(image)
        if target == "tflite":
            x = keras.layers.Concatenate(axis=1)(keras.ops.unstack(x, axis=3))
        else:
            x = keras.layers.Resizing(5, 5, interpolation="area")(x)
        model = keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
        model.save(f"{folder}/{target}.keras")
        spec = tf.TensorSpec(image.shape, tf.float32, name="image")
        _save(model, spec, f"{folder}/{target}")
        fed = np.random.default_rng(2).normal(size=(batch or 3, 8, 12, 3)).astype(np.float32)
        for source, path in (("keras", f"{folder}/{target}.keras"), ("tf", f"{folder}/{target}")):
            entry = facts[f"{source}->{target}"] = {}
            for form, say in (("", "as it is"), ("plain", "plain")):
                file = f"{folder}/{source}{form}.{target}"
                hops[source, target](path, file, form=form)
                loaded = load_onnx(file) if target == "onnx" else load_tflite(file)
                [described] = loaded.inputs
                [output] = loaded.run({described.name: fed})
                entry[say] = min(_difference(model(fed), output), 1e9)
                entry["plainly named" if form else "name"] = described.name
                entry["batch"] = described.shape[0]
    return facts


if __name__ == "__main__":
    tasks: dict[str, Callable[..., dict[str, Any]]] = {"rewrites": _rewrites, "replays": _replays, "hops": _hops}
    print(json.dumps(tasks[sys.argv[1]](*sys.argv[2:])))
