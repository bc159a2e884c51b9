"""Model files whose operators act outside the model are refused without trust, and ordinary ones are not."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path

import pytest

from safeconvert.errors import BadInput
from safeconvert.formats import KERAS, TFLITE, ModelFile
from safeconvert.models.acts_outside import acts_outside
from safeconvert.models.saved_model import allowed_operators, operator_outside
from tests.support.command import made_by, safeconvert

MODELS = """
import json, os
from pathlib import Path
import keras, numpy as np, tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2
from safeconvert.runtimes.tensorflow import allowed_operators

Path("list.txt").write_text(allowed_operators.text())
registry = allowed_operators.registry()
Path("registry.json").write_text(json.dumps({operator.name: operator.is_stateful for operator in registry}))

def save(folder, place, operator):
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    graph = saved.meta_graphs.add().graph_def
    if place == "graph":
        graph.node.add(name="acts", op=operator)
    else:  # in a function that a function calls
        inner, outer = graph.library.function.add(), graph.library.function.add()
        inner.signature.name, outer.signature.name = "inner", "outer"
        inner.node_def.add(name="acts", op=operator)
        outer.node_def.add(name="call", op="StatefulPartitionedCall").attr["f"].func.name = "inner"
        graph.node.add(name="call", op="PartitionedCall").attr["f"].func.name = "outer"
    Path(folder).mkdir(parents=True)
    Path(folder, "saved_model.pb").write_bytes(saved.SerializeToString())

for operator in registry:
    for place in ("graph", "function"):
        save(f"{place}/{operator.name}", place, operator.name)

def written(name, act, **more):
    module = tf.Module()
    path = os.path.abspath("WRITTEN")
    def f(x):
        with tf.control_dependencies([act(x, path)]):
            return {"y": tf.identity(x)}
    module.f = tf.function(f, input_signature=[tf.TensorSpec([None, 12], tf.float32, "x")])
    tf.saved_model.save(module, name, signatures={"serving_default": module.f})

written("prints", lambda x, path: tf.print("written", output_stream="file://" + path))
written("saves", lambda x, path: tf.raw_ops.SaveV2(prefix=path, tensor_names=["x"], shape_and_slices=[""], tensors=[x]))
written("nested", lambda x, path: tf.cond(
    tf.reduce_sum(x) > 0, lambda: tf.print("w", output_stream="file://" + path), lambda: tf.no_op()))
def summary(x, path):
    text = tf.constant("")
    writer = tf.raw_ops.SummaryWriter(shared_name="w", container="")
    made = tf.raw_ops.CreateSummaryFileWriter(
        writer=writer, logdir=path, max_queue=1, flush_millis=1, filename_suffix=text)
    with tf.control_dependencies([made]):
        return tf.raw_ops.WriteSummary(writer=writer, step=tf.constant(0, tf.int64), tensor=x, tag=text,
            summary_metadata=text)
written("summary", summary)
written("reads", lambda x, path: next(iter(tf.data.TextLineDataset(["/etc/hostname"]).batch(1))))
written("lines", lambda x, path: tf.data.TextLineDataset(["/etc/hostname"]).reduce(
    tf.constant(0), lambda n, line: n + tf.strings.length(line)))

layers = keras.layers
image = keras.Input((8, 8, 3))
keras.Model(image, layers.Dense(3)(layers.Flatten()(layers.BatchNormalization()(image)))).export(
    "plain", format="tf_saved_model", verbose=False)
steps = keras.Input((5, 4))
tf.saved_model.save(keras.Model(steps, layers.Dense(3)(layers.LSTM(8)(steps))), "recurrent")

class Table(tf.Module):
    def __init__(self):
        values = tf.lookup.KeyValueTensorInitializer(tf.constant([1, 2]), tf.constant([3, 4]))
        self.table = tf.lookup.StaticHashTable(values, -1)
        self.shift = tf.Variable(tf.ones((3,)))
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def f(self, x):
        y = tf.cast(self.table.lookup(tf.cast(x, tf.int32)), tf.float32)
        y = tf.cond(tf.reduce_sum(x) > 0, lambda: y + self.shift, lambda: y)
        return {"y": y + tf.random.uniform(tf.shape(x))}

table = Table()
tf.saved_model.save(table, "table", signatures=table.f)
v1 = tf.compat.v1
with tf.Graph().as_default():
    x = v1.placeholder(tf.float32, [None, 3])
    y = x @ v1.get_variable("w", [3, 2])
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, "old", {"x": x}, {"y": y})

# the saver of the model prints: its own operators are allowed there, no other
for name in ("prints", "saves"):
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(Path("plain/saved_model.pb").read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        if name == "prints" and "traced_save" in function.signature.name:
            function.node_def.add(name="acts", op="PrintV2")
        if name == "saves" and "traced_restore" in function.signature.name:
            function.node_def.add(name="acts", op="SaveV2")
    Path("saver_" + name).mkdir()
    Path("saver_" + name, "saved_model.pb").write_bytes(saved.SerializeToString())

# a signature calls the function that saves
saved = saved_model_pb2.SavedModel()
saved.ParseFromString(Path("plain/saved_model.pb").read_bytes())
library = saved.meta_graphs[0].graph_def.library.function
saving = next(f.signature.name for f in library if "traced_save" in f.signature.name)
calling = next(f for f in library if "traced" not in f.signature.name)
calling.node_def.add(name="acts", op="StatefulPartitionedCall").attr["f"].func.name = saving
Path("signature_saves").mkdir()
Path("signature_saves", "saved_model.pb").write_bytes(saved.SerializeToString())

keras.Model(image, layers.Dense(3)(layers.Flatten()(image))).save("plain.keras")
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made_by(MODELS, tmp_path_factory.mktemp("acting"))
    (folder / "WRITTEN").unlink(missing_ok=True)
    return folder


def test_the_list_is_what_the_registry_gives(models: Path) -> None:
    assert set((models / "list.txt").read_text().split()) == allowed_operators()


def test_every_operator_of_the_registry_is_refused_unless_it_is_listed(models: Path) -> None:
    registry = json.loads((models / "registry.json").read_text())
    stateful = [name for name, is_stateful in registry.items() if is_stateful]
    assert len(stateful) > 400
    for name in registry:
        expected = None if name in allowed_operators() else name
        assert operator_outside(models / "graph" / name) == expected
        assert operator_outside(models / "function" / name) == expected


@pytest.mark.parametrize(
    "name",
    ["PrintV2", "SaveV2", "WriteFile", "ReadFile", "PyFunc", "PyFuncStateless", "EagerPyFunc", "TextLineDataset",
     "CreateSummaryFileWriter", "WriteScalarSummary", "RestoreV2", "MatchingFiles", "InitializeTableFromTextFileV2",
     "DebugIdentity", "DecodeProtoV2", "ImmutableConst", "RpcCall", "DataServiceDatasetV4", "SnapshotDatasetV2",
     "CacheDataset", "XlaCustomCallV2", "XlaCallModule", "Skipgram", "FixedUnigramCandidateSampler", "Abort"],
)  # fmt: skip
def test_operators_that_reach_files_network_or_python_are_not_on_the_list(name: str) -> None:
    assert name not in allowed_operators()


@pytest.mark.parametrize(
    "name",
    ["Conv2D", "MatMul", "VarHandleOp", "ReadVariableOp", "HashTableV2", "LookupTableFindV2", "RandomUniform",
     "StatelessRandomUniformV2", "While", "If", "StatefulPartitionedCall", "TensorArrayV3", "CudnnRNNV3"],
)  # fmt: skip
def test_variables_tables_random_numbers_and_control_flow_are_on_the_list(name: str) -> None:
    assert name in allowed_operators()


@pytest.mark.parametrize("name", ["plain", "recurrent", "table", "old"])
def test_ordinary_saved_models_are_accepted_with_their_savers(models: Path, name: str) -> None:
    assert operator_outside(models / name) is None


@pytest.mark.parametrize("name", ["prints", "saves", "nested", "summary", "reads", "lines"])
def test_saved_models_that_act_outside_are_refused_at_once_and_write_nothing(
    models: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    begun = time.process_time()  # of this process alone: the machine may be busy with other work
    assert operator_outside(models / name) is not None
    assert time.process_time() - begun < 1
    for arguments in (("tf2onnx", models / name, "-o", "m.onnx"), ("check", models / "old", models / name)):
        done = safeconvert(*arguments, folder=folder)
        assert done.code == 2, done
        assert "acts outside the model" in done.err
        assert "--trust-pickle" in done.err
    assert not (models / "WRITTEN").exists()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "operator"), [("saver_prints", "PrintV2"), ("saver_saves", "SaveV2"), ("signature_saves", None)]
)
def test_savers_may_only_save_and_nothing_else_may_call_them(models: Path, name: str, operator: str | None) -> None:
    forbidden = operator_outside(models / name)
    assert forbidden in ({operator} if operator else {"SaveV2", "MergeV2Checkpoints", "ShardedFilename"})


def test_a_graph_in_several_files_is_refused(models: Path, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes((models / "plain" / "saved_model.pb").read_bytes())
    assert operator_outside(tmp_path) is None
    (tmp_path / "saved_model.cpb").write_bytes(b"")
    with pytest.raises(BadInput, match="split graph"):
        operator_outside(tmp_path)


@pytest.mark.parametrize("damage", [b"\x12\xff\xff\xff\x0f", b"\x0b", b"\x12"])
def test_bytes_that_are_no_message_are_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(damage)
    with pytest.raises(BadInput, match="damaged"):
        operator_outside(tmp_path)


def test_a_tflite_file_with_a_tensorflow_operator_that_writes_is_refused(tmp_path: Path) -> None:
    """TensorFlow's interpreter, in which a TFLite file runs too, has all of TensorFlow's operators."""
    (tmp_path / "betainc.tflite").write_bytes(b"\x1c\0\0\0TFL3 FlexBetainc\0")
    (tmp_path / "print.tflite").write_bytes(b"\x1c\0\0\0TFL3 FlexBetainc\0 FlexPrintV2\0")
    assert acts_outside(ModelFile(tmp_path / "betainc.tflite", TFLITE, "tflite")) is None
    assert acts_outside(ModelFile(tmp_path / "print.tflite", TFLITE, "tflite")) == "a PrintV2 operator"


@pytest.mark.parametrize(
    ("layer", "part"),
    [
        ({"class_name": "TFSMLayer", "config": {"filepath": "/tmp/other"}}, "a TFSMLayer"),
        ({"class_name": "TorchModuleWrapper", "config": {}}, "a TorchModuleWrapper"),
        ({"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}, "the vocabulary file '/etc/passwd'"),
        ({"class_name": "StringLookup", "config": {"vocabulary": ["a", "b"]}}, None),
    ],
)
def test_keras_layers_that_read_other_files_are_refused(
    models: Path, tmp_path: Path, layer: dict[str, object], part: str | None
) -> None:
    with zipfile.ZipFile(models / "plain.keras") as plain, zipfile.ZipFile(tmp_path / "m.keras", "w") as changed:
        config = json.loads(plain.read("config.json"))
        config["config"]["layers"].append({"class_name": "Functional", "config": {"layers": [layer]}})
        changed.writestr("config.json", json.dumps(config))
    assert acts_outside(ModelFile(models / "plain.keras", KERAS, "keras")) is None
    outside = acts_outside(ModelFile(tmp_path / "m.keras", KERAS, "keras"))
    assert (outside is None) if part is None else (part in str(outside))
