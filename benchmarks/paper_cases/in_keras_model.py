"""Faults of the paper's Keras Targets. Run in a process of its own: prints what was seeded as JSON.

python -m benchmarks.paper_cases.in_keras_model RIGHT WRONG '[["LH", "pads moved"], ...]'
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.faults import in_keras
from benchmarks.faults.in_keras import Layer, Model, Result, again, fresh, makers, operations, readers, seeded, shape
from benchmarks.faults.seeding import Draw, NoPlace, Seeded

TRIES = 40


def pad_removed(model: Model, draw: Draw) -> Result:
    """The model's first pad lost: no branch is there yet, so it runs all the same, on fewer pixels."""
    op = draw.pick(operations(model, layers.ZeroPadding2D)[:1], lambda op: op.name)

    def call(other: Layer, args: Any) -> Any:
        return args if other.name == op.name else NotImplemented

    return again(model, call=call), seeded(op, f"padding {op.padding} lost", *makers(op), *readers(model, op))


def axes_last(model: Model, draw: Draw) -> Result:
    """Channels unsqueezed and joined at axis 3 instead of 1, and the result read as if they had been at axis 1."""
    joined = [
        op
        for op in operations(model, layers.Concatenate)
        if len(shape(op)) == 4 and shape(op)[1] == len(op.input) and op.axis == 1
    ]
    op = draw.pick(joined, lambda op: op.name)
    sizes = shape(op)[1:]
    reread = layers.Reshape(sizes, name=fresh(model, "reshape"))
    singles = [layers.Reshape((*sizes[1:], 1), name=fresh(model, f"unsqueeze{i}")) for i in range(len(op.input))]
    last = layers.Concatenate(axis=3, name=f"{op.name}_last")

    def call(other: Layer, args: Any) -> Any:
        if other.name != op.name:
            return NotImplemented
        return reread(last([single(part) for single, part in zip(singles, args, strict=True)]))

    near = [op.name, last.name, *(single.name for single in singles), *makers(op), *readers(model, op)]
    return again(model, call=call), seeded(reread, f"channels joined at axis 3 read as {list(sizes)}", *near)


def channels_between(model: Model, draw: Draw) -> Result:
    """The input declared with its channels between height and width, and turned behind it."""
    old = model.inputs[0]
    sizes = list(old.shape)
    if in_keras.channel_axis(model) != 1:
        raise NoPlace("the channels do not come first")
    new_input = keras.Input(batch_shape=[sizes[0], sizes[2], sizes[1], sizes[3]], dtype=old.dtype, name=old.name)
    turned = layers.Permute((2, 1, 3), name=fresh(model, "permute"))
    near = (turned.name, *readers(model, in_keras.image_input(model)))
    layers_by_name: dict[str, Layer] = {}

    def copied(op: Layer) -> Layer:
        if not isinstance(op, layers.InputLayer) and op.name not in layers_by_name:
            layers_by_name[op.name] = type(op).from_config(op.get_config())
        return layers_by_name.get(op.name, op)

    outputs = model._run_through_graph(keras.tree.pack_sequence_as(model._inputs_struct, [turned(new_input)]), copied)
    for name, layer in layers_by_name.items():
        if weights := getattr(layer, "weights", None):
            for mine, new in zip(model.get_layer(name).weights, weights, strict=True):
                new.assign(mine)
    detail = f"{sizes[1:]} declared as {list(new_input.shape[1:])}"
    return keras.Model(new_input, outputs, name=model.name), Seeded("", old.name, "", detail, near)


KINDS: dict[tuple[str, str], Callable[[Model, Draw], Result]] = {
    ("CG", "pad removed"): pad_removed,
    ("TSS", "axes last"): axes_last,
    ("ID", "channels between"): channels_between,
}


def inject(right: str, wrong: str, faults: list[tuple[str, str]], seed: int = 0) -> list[dict[str, Any]]:
    """Faults of these types and kinds, one behind the other, each of which changes what the model gives."""
    model, used_nodes, changes = in_keras.read(right), set[str](), list[dict[str, Any]]()
    before = _outputs(model)
    for index, (type_, kind) in enumerate(faults):
        make = KINDS.get((type_, kind)) or in_keras.KINDS[type_][kind]
        for attempt in range(TRIES):
            draw = Draw(np.random.default_rng((seed, index, attempt)), 0.5, used_nodes)
            changed, fault = make(model, draw)
            names = {fault.node, *fault.also}
            if {fault.node} & used_nodes:
                continue
            if type_ == "ID":
                break
            after = _outputs(changed)
            if not _same(before, after):
                before = after
                break
        else:
            raise NoPlace(f"no {kind} that changes the outputs in {TRIES} draws")
        model = changed
        used_nodes |= names
        changes.append(asdict(replace(fault, type=type_, kind=kind)))
    model.save(wrong)
    return changes


def _outputs(model: Model) -> list[Any]:
    random = np.random.default_rng(7)
    sizes = [size or 2 for size in model.inputs[0].shape]
    images = random.uniform(-1, 1, sizes).astype("float32")
    return [np.asarray(value) for value in keras.tree.flatten(model(images, training=False))]


def _same(first: list[Any], other: list[Any]) -> bool:
    if [a.shape for a in first] != [b.shape for b in other]:
        return False
    return all(np.allclose(a, b, 1e-3, 1e-4 * float(np.abs(a).max() + 1e-9)) for a, b in zip(first, other, strict=True))


if __name__ == "__main__":
    print(json.dumps(inject(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
