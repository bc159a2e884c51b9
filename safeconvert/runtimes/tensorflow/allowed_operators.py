"""Make the list of TensorFlow operators that a model file may hold, from TensorFlow's own registry.

Runs where TensorFlow is installed: ``python -m safeconvert.runtimes.tensorflow.allowed_operators`` writes the list,
which the package carries as a text file, so that a file is checked without TensorFlow. An operator is allowed where the
registry calls it stateless, unless it still reaches files, the network, Python or another process; of the stateful
ones only those whose state stays in the model's memory. Whatever a later TensorFlow adds is not on the list.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LIST = Path(__file__).parents[2] / "models" / "allowed_operators.txt"

STATEFUL_ALLOWED = re.compile(
    # variables
    r"VarHandleOp|Variable(V2|Shape)?|TemporaryVariable|ReadVariableOp|Assign(Add|Sub)?VariableOp|VarIsInitializedOp"
    r"|ResourceGather(Nd)?|ResourceScatter\w+|ResourceStridedSliceAssign|ResourceCountUpTo|DestroyResourceOp"
    r"|DisableCopyOnRead|Resource(Sparse)?Apply\w+|IsVariableInitialized"
    # lookup tables in memory; those that are filled from a text file are not among them
    r"|(Anonymous)?(Mutable|MutableDense)?HashTable(OfTensors)?(V2)?"
    r"|InitializeTableV2|LookupTable(Find|Insert|Remove|Size|Export|Import)V2"
    # random numbers; Skipgram and the sampler with a vocabulary file are not among them
    r"|Random(Uniform|UniformInt|StandardNormal|Gamma|Poisson|PoissonV2|Shuffle|Crop)|TruncatedNormal|Multinomial"
    r"|ParameterizedTruncatedNormal|Stateful(Uniform(Int|FullInt)?|StandardNormal(V2)?|TruncatedNormal|RandomBinomial)"
    r"|NonDeterministicInts|Rng(Skip|ReadAndSkip)|StatelessRandomGetAlg|SampleDistortedBoundingBox(V2)?"
    r"|(Uniform|LogUniform|All|LearnedUnigram|ThreadUnsafeUnigram)CandidateSampler"
    # control flow and calls of functions of the same file
    r"|If|While|Case|StatefulPartitionedCall|DeviceIndex"
    # containers in memory, checks of values, recurrent layers of GPUs
    r"|TensorArray\w*|Stack(Push|Pop|Close)?(V2)?|Mutex(V2|Lock)|ConsumeMutexLock|Empty|DeepCopy|Assert|GuaranteeConst"
    r"|CheckNumerics(V2)?|CudnnRNN(Backprop)?(V[23])?"
)
STATELESS_REFUSED = re.compile(
    r".*(Dataset|Iterator|Snapshot|File|Reader|Rpc|Proto|PyFunc|CustomCall|Collective|Nccl|HostCompute|Remote|Mlir).*"
    r"|(Debug|Copy|TPU|Tpu|DTensor|XlaLaunch|XlaHost|_(?!Fused)).*"
    r"|ImmutableConst|GenerateVocabRemapping|Abort|CustomAggregator|MlirPassthroughOp"
)


def registry() -> list[Any]:
    """Return the definition (``OpDef``) of each operator that TensorFlow registers, in order of their names."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    operators = op_def_pb2.OpList()
    operators.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return sorted(operators.op, key=lambda operator: operator.name)


def is_allowed(operator: Any) -> bool:
    """Return whether a model may hold this operator (an ``OpDef``) and still be run without the person's trust."""
    if operator.is_stateful:
        return STATEFUL_ALLOWED.fullmatch(operator.name) is not None
    return STATELESS_REFUSED.fullmatch(operator.name) is None


def text() -> str:
    """Return the list as its file holds it: one name a line."""
    return "".join(f"{operator.name}\n" for operator in registry() if is_allowed(operator))


if __name__ == "__main__":
    LIST.write_text(text(), encoding="utf-8")
