"""Random torch modules: ``python -m benchmarks.fuzzing.torch_nets SEED FOLDER`` writes ``model.pt2`` and its inputs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.fuzzing.drawing import (
    DTYPES,
    MAX_ELEMENTS,
    Draw,
    Layer,
    Net,
    Plan,
    Value,
    arrays_of,
    draw_batch,
    draw_inputs,
    write_facts,
    write_inputs,
)  # fmt: skip

Step = tuple[Callable[..., Any], tuple[int, ...]]


class Steps(nn.Module):
    """Runs recorded steps, each on results of earlier ones, and returns some of them."""

    def __init__(self, steps: Sequence[Step], inputs: int, outputs: Sequence[int], names: Sequence[str] | None) -> None:
        super().__init__()
        self.steps, self.inputs, self.outputs, self.names = list(steps), inputs, list(outputs), names
        self.parts = nn.ModuleList([function for function, _ in steps if isinstance(function, nn.Module)])

    def forward(self, *arrays: Any) -> Any:
        results = list(arrays)
        for function, places in self.steps:
            result = function(*(results[place] for place in places))
            results += result if isinstance(result, tuple) else (result,)
        chosen = [results[place] for place in self.outputs]
        if self.names is not None:
            return dict(zip(self.names, chosen, strict=False))
        return chosen[0] if len(chosen) == 1 else tuple(chosen)


class TorchNet(Net):
    """Steps that are recorded and tried at once on three rows, so that every shape is torch's own."""

    def __init__(self, draw: Draw, plans: Sequence[Plan]) -> None:
        super().__init__(draw, [])
        self.steps: list[Step] = []
        self.results: list[torch.Tensor] = [torch.tensor(a) for a in arrays_of(plans, 3, (0,), 1.0).values()]
        self.values = [Value(place, p.shape, "int" if p.high else p.dtype, p.high) for place, p in enumerate(plans)]
        self.inputs = len(plans)

    def step(self, function: Callable[..., Any], *values: Value, high: int = 0) -> Value | None:
        """Record the function of the values; None where torch refuses it or the first axis is no batch any more."""
        if isinstance(function, nn.Module):
            _seed_weights(function, self.draw)
        try:
            with torch.no_grad():
                result = function(*(self.results[value.handle] for value in values))
        except (RuntimeError, IndexError, ValueError):
            return None
        parts = result if isinstance(result, tuple) else (result,)
        if any(part.ndim == 0 or part.shape[0] != 3 or part.numel() == 0 for part in parts):
            return None
        if any(part.numel() > 3 * MAX_ELEMENTS or not part.double().isfinite().all() for part in parts):
            return None
        self.steps.append((function, tuple(value.handle for value in values)))
        first = len(self.results)
        self.results += parts
        values = [Value(first + i, tuple(part.shape[1:]), _kind(part), high) for i, part in enumerate(parts)]
        self.values += values[1:]
        return values[0]


def _kind(tensor: torch.Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    return "float" if tensor.is_floating_point() else "int"


def _seed_weights(module: nn.Module, draw: Draw) -> None:
    """Weights of the draw's own, and running statistics that are not those of a fresh layer."""
    module.eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.tensor(draw.weights(*parameter.shape, inputs=math.prod(parameter.shape[1:]))))
            else:
                base = 1.0 if name.endswith("weight") else 0.0
                parameter.copy_(torch.tensor(draw.normal(*parameter.shape, scale=0.3)) + base)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.tensor(draw.normal(*buffer.shape, scale=0.4)))
            elif name.endswith("running_var"):
                buffer.copy_(torch.tensor(draw.normal(*buffer.shape)).abs() + 0.4)


def same(*functions: Callable[..., Any]) -> Layer:
    """A function of each element."""

    def layer(net: TorchNet, value: Value) -> Value | None:
        return net.step(net.draw.pick(functions), value) if value.kind == "float" else None

    return layer


def of_rank(low: int, high: int, build: Callable[[Draw, tuple[int, ...]], Callable[..., Any]]) -> Layer:
    """A layer built for the value's shape, for ranks from ``low`` to ``high`` without the batch."""

    def layer(net: TorchNet, value: Value) -> Value | None:
        if value.kind != "float" or not low <= value.rank <= high:
            return None
        try:
            return net.step(build(net.draw, value.shape), value)
        except (ValueError, RuntimeError):
            return None

    return layer


def joined(*functions: Callable[..., Any], kind: str = "float") -> Layer:
    """A function of two values of shapes that broadcast."""

    def layer(net: TorchNet, value: Value) -> Value | None:
        if value.kind != kind:
            return None

        def fits(other: Value) -> bool:
            pairs = zip(other.shape, value.shape, strict=False)
            return other.kind == kind and other.rank == value.rank and all(a in (1, b) for a, b in pairs)

        other = net.other(value, fits)
        if other is None:
            return None
        net.read(other)
        return net.step(net.draw.pick(functions), value, other)

    return layer


def conv(draw: Draw, shape: tuple[int, ...]) -> nn.Module:
    rank, channels = len(shape) - 1, shape[0]
    group = draw.pick([1, 1, 1] + [g for g in (2, 3, channels) if channels % g == 0])
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    kernel = draw.between(1, 3)
    return kind(
        channels, group * draw.between(1, 4), kernel, stride=draw.pick((1, 1, 2)),
        padding=draw.pick((0, kernel // 2, 1)), dilation=draw.pick((1, 1, 2)), groups=group, bias=draw.chance(0.7),
        padding_mode=draw.pick(("zeros", "zeros", "zeros", "reflect", "replicate")),
    )  # fmt: skip


def conv_transpose(draw: Draw, shape: tuple[int, ...]) -> nn.Module:
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d)[len(shape) - 2]
    stride = draw.pick((1, 2, 2))
    return kind(
        shape[0], draw.between(1, 5), draw.between(2, 3), stride=stride, padding=draw.pick((0, 1)),
        output_padding=draw.pick((0, 1)) if stride == 2 else 0,
    )  # fmt: skip


def pool(draw: Draw, shape: tuple[int, ...]) -> nn.Module:
    place = len(shape) - 2
    kernel, stride = draw.between(2, 3), draw.pick((1, 2))
    padding, ceil = draw.pick((0, 1)), draw.chance(0.3)
    if draw.chance(0.5):
        return (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[place](kernel, stride, padding, ceil_mode=ceil)
    kind = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[place]
    return kind(kernel, stride, padding, ceil_mode=ceil, count_include_pad=draw.chance(0.5))


def adaptive(draw: Draw, shape: tuple[int, ...]) -> nn.Module:
    return (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[len(shape) - 2](1)


def batch_norm(draw: Draw, shape: tuple[int, ...]) -> nn.Module:
    return (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(shape) - 1](
        shape[0], eps=draw.pick((1e-5, 1e-3))
    )


def group_norm(draw: Draw, shape: tuple[int, ...]) -> nn.Module:
    return nn.GroupNorm(draw.pick([g for g in (1, 2, 3) if shape[0] % g == 0]), shape[0])


def instance_norm(draw: Draw, shape: tuple[int, ...]) -> nn.Module:
    return (nn.InstanceNorm1d, nn.InstanceNorm2d)[len(shape) - 2](shape[0], affine=draw.chance(0.6))


def linear(draw: Draw, shape: tuple[int, ...]) -> nn.Module:
    return nn.Linear(shape[-1], draw.between(1, 10), bias=draw.chance(0.8))


class First(nn.Module):
    """A recurrent layer's first result."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return self.inner(x)[0]


def recurrent(draw: Draw, shape: tuple[int, ...]) -> nn.Module:
    kind = draw.pick((nn.LSTM, nn.GRU, nn.RNN))
    return First(kind(shape[-1], draw.between(2, 5), batch_first=True, bidirectional=draw.chance(0.4)))


class Attention(nn.Module):
    """Scaled dot-product attention of a sequence with itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, 4), nn.Linear(width, 4)

    def forward(self, x: Any) -> Any:
        return functional.scaled_dot_product_attention(self.query(x), self.key(x), x)


def upsample(draw: Draw, shape: tuple[int, ...]) -> Callable[..., Any]:
    mode = draw.pick(("nearest", "bilinear", "bicubic"))
    corners = {} if mode == "nearest" else {"align_corners": draw.chance(0.5)}
    factor = draw.pick((2, 2, 3, 0.5))
    return nn.Upsample(scale_factor=factor, mode=mode, **corners)


def shuffle(draw: Draw, shape: tuple[int, ...]) -> nn.Module:
    return nn.PixelShuffle(2) if shape[0] % 4 == 0 else nn.PixelUnshuffle(2)


def pad(draw: Draw, shape: tuple[int, ...]) -> Callable[..., Any]:
    pads = [draw.between(0, 2) for _ in range(4)]
    mode = draw.pick(("constant", "reflect", "replicate"))
    return lambda x: functional.pad(x, pads, mode=mode)


def reduce(net: TorchNet, value: Value) -> Value | None:
    if value.kind != "float" or not value.shape:
        return None
    axis = net.draw.pick((net.draw.between(1, value.rank), -1))
    keep = net.draw.chance(0.4)
    function = net.draw.pick((torch.mean, torch.sum, torch.amax, torch.amin, torch.logsumexp, torch.std, torch.prod))
    return net.step(lambda x: function(x, dim=axis, keepdim=keep), value)


def normalise(net: TorchNet, value: Value) -> Value | None:
    if value.kind != "float" or not value.shape:
        return None
    axis = net.draw.pick((net.draw.between(1, value.rank), -1))
    function = net.draw.pick((torch.softmax, torch.log_softmax, functional.normalize, torch.cumsum))
    return net.step(lambda x: function(x, dim=axis), value)


def move(net: TorchNet, value: Value) -> Value | None:
    """The axes but the batch in another order."""
    if value.rank < 2:
        return None
    order = [0, *(int(axis) + 1 for axis in net.draw.random.permutation(value.rank))]
    return net.step(lambda x: x.permute(order), value, high=value.high)


def reshape(net: TorchNet, value: Value) -> Value | None:
    if value.rank < 1:
        return None
    choices = [lambda x: x.flatten(1), lambda x: x.unsqueeze(1), lambda x: x.unsqueeze(-1)]
    if value.rank > 1:
        choices += [lambda x: x.flatten(1, 2), lambda x: x.reshape(x.shape[0], -1), lambda x: x.squeeze(1)]
    if value.shape[-1] % 2 == 0:
        choices.append(lambda x: x.reshape(*x.shape[:-1], 2, x.shape[-1] // 2))
    return net.step(net.draw.pick(choices), value, high=value.high) if value.rank < 4 else None


def cut(net: TorchNet, value: Value) -> Value | None:
    if value.rank < 1 or value.shape[-1] < 3:
        return None
    choices = (
        lambda x: x[..., 1:], lambda x: x[..., ::2], lambda x: x[..., :-1], lambda x: x[..., -1],
        lambda x: x.flip(-1), lambda x: x.roll(1, -1), lambda x: x[:, :1], lambda x: x.narrow(-1, 1, 2),
    )  # fmt: skip
    return net.step(net.draw.pick(choices), value, high=value.high)


def parts(net: TorchNet, value: Value) -> Value | None:
    if value.kind != "float" or not value.shape or value.shape[-1] < 2:
        return None
    return net.step(lambda x: tuple(torch.chunk(x, 2, dim=-1)), value)


def concat(net: TorchNet, value: Value) -> Value | None:
    if value.kind != "float" or not value.shape:
        return None
    other = net.other(value, lambda v: v.kind == "float" and v.shape[:-1] == value.shape[:-1] and v.rank == value.rank)
    if other is None:
        return None
    net.read(other)
    return net.step(lambda a, b: torch.cat([a, b], dim=-1), value, other)


def matmul(net: TorchNet, value: Value) -> Value | None:
    if value.kind != "float" or value.rank < 2:
        return None
    other = net.other(
        value,
        lambda v: (
            v.kind == "float"
            and v.rank == value.rank
            and v.shape[:-2] == value.shape[:-2]
            and v.shape[-2] == value.shape[-1]
        ),
    )
    if other is None:
        return None
    net.read(other)
    return net.step(net.draw.pick((torch.matmul, lambda a, b: torch.einsum("...ij,...jk->...ik", a, b))), value, other)


def embed(net: TorchNet, value: Value) -> Value | None:
    if value.kind != "int" or not value.high or value.rank > 2:
        return None
    return net.step(nn.Embedding(value.high, net.draw.between(2, 8)), value)


def indices(net: TorchNet, value: Value) -> Value | None:
    if value.kind != "float" or not value.shape:
        return None
    function = net.draw.pick((torch.argmax, torch.argmin))
    return net.step(lambda x: function(x, dim=-1), value, high=value.shape[-1])


def top_k(net: TorchNet, value: Value) -> Value | None:
    if value.kind != "float" or not value.shape or value.shape[-1] < 2:
        return None
    count = net.draw.between(1, min(3, value.shape[-1]))
    return net.step(lambda x: tuple(torch.topk(x, count, dim=-1)), value)


def compare(net: TorchNet, value: Value) -> Value | None:
    if value.kind == "int" and value.high:
        return net.step(lambda x: x > value.high // 2, value)
    return net.step(net.draw.pick((lambda x: x > 0.137, lambda x: x <= -0.2)), value) if value.kind == "float" else None


def to_float(net: TorchNet, value: Value) -> Value | None:
    return None if value.kind == "float" else net.step(lambda x: x.float() * 0.25, value)


def where(net: TorchNet, value: Value) -> Value | None:
    if value.kind != "bool" or not value.shape:
        return None
    other = net.other(value, lambda v: v.kind == "float" and v.shape == value.shape)
    if other is None:
        return None
    net.read(other)
    fill = net.draw.pick((0.0, -1e4, 1.0))
    return net.step(lambda m, x: x.masked_fill(~m, fill), value, other)


def logic(net: TorchNet, value: Value) -> Value | None:
    return net.step(torch.logical_not, value) if value.kind == "bool" else None


def integers(net: TorchNet, value: Value) -> Value | None:
    choices = (lambda x: x + 3, lambda x: x * 2 - 1, lambda x: x % 3, lambda x: x // 2)
    return net.step(net.draw.pick(choices), value) if value.kind == "int" and value.high else None


LAYERS: dict[str, Layer] = {
    "activation": same(
        torch.relu, nn.LeakyReLU(0.1), nn.ELU(), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(),
        nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(), nn.ReLU6(), nn.Softplus(), nn.Softsign(), nn.Tanhshrink(),
        torch.sigmoid, torch.tanh, nn.LogSigmoid(), nn.CELU(), nn.Softshrink(), nn.Threshold(0.1, 0.5), nn.Hardshrink(),
    ),
    "function": same(
        torch.abs, torch.neg, torch.sin, torch.cos, torch.erf, torch.floor, torch.round, torch.sign,
        lambda x: torch.exp(torch.tanh(x)), lambda x: torch.sqrt(x.abs() + 0.1), lambda x: torch.log(x.abs() + 0.5),
        lambda x: 1 / (x.abs() + 0.6), lambda x: torch.rsqrt(x.abs() + 0.5), lambda x: x**2,
        lambda x: x.clamp(-1, 0.7),
        lambda x: torch.log1p(x.abs()), lambda x: torch.atan(x), lambda x: torch.expm1(torch.tanh(x)),
        lambda x: x.trunc(),
        lambda x: torch.fmod(x, 0.9), lambda x: torch.remainder(x, 0.9), lambda x: torch.clamp(x, min=0.2),
        lambda x: x * 0.5 + 1,
    ),
    "Conv": of_rank(2, 4, conv), "ConvTranspose": of_rank(2, 3, conv_transpose), "pool": of_rank(2, 4, pool),
    "adaptive pool": of_rank(2, 4, adaptive), "BatchNorm": of_rank(1, 4, batch_norm),
    "GroupNorm": of_rank(2, 4, group_norm),
    "InstanceNorm": of_rank(2, 3, instance_norm), "LayerNorm": of_rank(1, 3, lambda d, s: nn.LayerNorm(s[-1])),
    "Linear": of_rank(1, 4, linear), "recurrent": of_rank(2, 2, recurrent), "attention": of_rank(2, 2,
    lambda d, s: Attention(s[-1])),
    "PReLU": of_rank(1, 4, lambda d, s: nn.PReLU(s[0])), "Upsample": of_rank(3, 3, upsample),
    "PixelShuffle": of_rank(3, 3, shuffle),
    "pad": of_rank(3, 3, pad), "LocalResponseNorm": of_rank(3, 3, lambda d, s: nn.LocalResponseNorm(3)),
    "reduce": reduce, "softmax": normalise, "permute": move, "reshape": reshape, "slice": cut, "chunk": parts,
    "cat": concat,
    "matmul": matmul, "Embedding": embed, "argmax": indices, "topk": top_k, "compare": compare, "to float": to_float,
    "masked_fill": where, "not": logic, "integers": integers,
    "join": joined(torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum, lambda a, b: a / (b.abs() + 0.8)),
    "logic": joined(torch.logical_and, torch.logical_or, torch.logical_xor, kind="bool"),
    "equal": joined(torch.gt, torch.le),
}  # fmt: skip
COMMON = ("Conv", "Linear", "activation", "BatchNorm", "join", "pool", "softmax", "to float", "Embedding")


def build(seed: int) -> tuple[torch.export.ExportedProgram, tuple[Plan, ...], list[str], int | None]:
    """Draw a module and export it; return it with its inputs, its layers by name, and its fixed batch."""
    draw = Draw(seed, 0)
    plans = draw_inputs(draw, is_channels_last=False)
    net = TorchNet(draw, plans)
    batch = draw_batch(draw)
    layers = net.grow(LAYERS, COMMON, draw.between(3, 15))
    names = draw.pick((None, None, ("y", "a", "k", "b"), ("logits", "boxes_", "aux", "mask_")))
    module = Steps(net.steps, net.inputs, [value.handle for value in net.outputs()], names).eval()
    arrays = arrays_of(plans, 3 if batch is None else batch, (0,), 1.0)
    example = tuple(torch.tensor(arrays[plan.name].astype(DTYPES[plan.dtype])) for plan in plans)
    rows = torch.export.Dim("batch", min=1, max=1024)
    shapes = None if batch is not None else (tuple({0: rows} for _ in plans),)
    with torch.no_grad():
        program = torch.export.export(module, example, dynamic_shapes=shapes)
    return program, plans, layers, batch


def main() -> None:
    seed, folder = int(sys.argv[1]), Path(sys.argv[2])
    program, plans, layers, batch = build(seed)
    torch.export.save(program, folder / "model.pt2")
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    plans = tuple(Plan(name, p.shape, p.dtype, p.high) for name, p in zip(names, plans, strict=True))
    write_inputs(folder, plans, seed)
    write_facts(folder, plans, layers, batch)


if __name__ == "__main__":
    main()
