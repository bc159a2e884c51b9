"""PyTorch Sources of the benchmark: seeded weights, small variants. Needs timm, torchvision or transformers for some.

    python benchmarks/architecture_sources/torch_nets.py NAME FOLDER

writes ``model.pt2``, an exported program with a free batch where ``torch.export`` keeps it free, and ``inputs.json``.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.architecture_sources.inputs import Input, arrays, write

Net = tuple[nn.Module, list[Input]]
SEED, SPREAD = 0, 0.1
LENGTH, WORDS = 32, 500


def picture(size: int = 224, channels: int = 3) -> list[Input]:
    return [Input("x", (channels, size, size))]


def words(name: str = "ids") -> Input:
    return Input(name, (LENGTH,), "ids", WORDS - 1)


def timm_net(name: str, size: int = 224, **settings: Any) -> Callable[[], Net]:
    def build() -> Net:
        import timm

        return timm.create_model(name, pretrained=False, **settings), picture(size)

    return build


def swin() -> Net:
    """Return a Swin transformer with its shifted windows, narrower than the tiny one."""
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(embed_dim=48, depths=(2, 2, 2, 2), num_heads=(2, 4, 8, 16)), picture()


def mixer() -> Net:
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(num_classes=100, img_size=128, patch_size=16, num_blocks=4, embed_dim=128), picture(128)


class First(nn.Module):
    """The first output of a model that returns a dictionary."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> Any:
        return next(iter(self.inner(x).values()))


def deeplabv3() -> Net:
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

    return First(deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)), picture(129)


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """Two levels; one goes up by bilinear resizing, the other by a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = block(3, 16), block(16, 32), block(32, 64)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.fourth, self.fifth, self.head = block(96, 32), block(32, 16), nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        second = self.second(functional.max_pool2d(first, 2))
        third = self.third(functional.max_pool2d(second, 2))
        up = functional.interpolate(third, scale_factor=2, mode="bilinear", align_corners=False)
        fourth = self.fourth(torch.cat([up, second], 1))
        return self.head(self.fifth(torch.cat([self.up(fourth), first], 1)))


class Detector(nn.Module):
    """Depthwise features at two scales, and boxes decoded from anchors, as SSDLite does; no suppression at its end."""

    def __init__(self, classes: int = 6, anchors: int = 3) -> None:
        super().__init__()
        self.classes = classes
        self.stem = nn.Sequential(block(3, 16), nn.MaxPool2d(4), self._lite(16, 32), nn.MaxPool2d(2))
        self.deeper = nn.Sequential(self._lite(32, 48), nn.MaxPool2d(2))
        self.boxes = nn.ModuleList(self._lite(width, 4 * anchors) for width in (32, 48))
        self.scores = nn.ModuleList(self._lite(width, classes * anchors) for width in (32, 48))
        self.register_buffer("anchors", torch.rand(anchors * (16 * 16 + 8 * 8), 4) * 0.5 + 0.25)

    @staticmethod
    def _lite(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False), nn.BatchNorm2d(inputs), nn.ReLU6(),
            nn.Conv2d(inputs, outputs, 1),
        )  # fmt: skip

    def _rows(self, maps: Sequence[torch.Tensor], size: int) -> torch.Tensor:
        return torch.cat([m.permute(0, 2, 3, 1).reshape(m.shape[0], -1, size) for m in maps], 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        near = self.stem(x)
        maps = near, self.deeper(near)
        offsets = self._rows([head(m) for head, m in zip(self.boxes, maps, strict=True)], 4)
        scores = self._rows([head(m) for head, m in zip(self.scores, maps, strict=True)], self.classes)
        centre = self.anchors[:, :2] + offsets[..., :2] * 0.1 * self.anchors[:, 2:]
        half = self.anchors[:, 2:] * torch.exp(offsets[..., 2:] * 0.2) / 2
        return {"boxes": torch.cat([centre - half, centre + half], -1), "scores": scores.softmax(-1)}


class Masked(nn.Module):
    """A transformers model called with ids and a mask: its last states, and the pooled one where it has one."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        result = self.inner(input_ids=input_ids, attention_mask=attention_mask)
        return result.last_hidden_state, result.pooler_output


def bert() -> Net:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    model = BertModel(BertConfig(vocab_size=WORDS, **sizes))
    return Masked(model), [words("input_ids"), Input("attention_mask", (LENGTH,), "mask")]


class Decoder(nn.Module):
    """The logits of a causal language model, without a cache."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, ids: torch.Tensor) -> Any:
        return self.inner(input_ids=ids, use_cache=False).logits


def gpt() -> Net:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=WORDS, n_positions=64, n_embd=128, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    return Decoder(GPT2LMHeadModel(config)), [words()]


class TextClassifier(nn.Module):
    """Embedding, two bidirectional LSTM layers, a mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(WORDS, 32), nn.Linear(96, 5)
        self.layers = nn.LSTM(32, 48, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.table(ids))[0].mean(1))


class SpeechNet(nn.Module):
    """Convolutions over a spectrogram, a GRU over time, a label for each step."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.layer, self.head = nn.GRU(8 * 20, 64, batch_first=True), nn.Linear(64, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.convolutions(x)
        return self.head(self.layer(maps.permute(0, 3, 1, 2).flatten(2))[0])


def generator() -> Net:
    layers: list[nn.Module] = [nn.Linear(32, 128 * 16), nn.Unflatten(1, (128, 4, 4))]
    for inputs, outputs in ((128, 64), (64, 32), (32, 16)):
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(16, 3, 3, padding=1), nn.Tanh()), [Input("input", (32,))]


NETS: dict[str, Callable[[], Net]] = {
    "resnet18": timm_net("resnet18"),
    "efficientnet_b0": timm_net("efficientnet_b0"),
    "mobilenetv3_small": timm_net("mobilenetv3_small_100"),
    "convnext_atto": timm_net("convnext_atto"),
    "vit_tiny": timm_net("vit_tiny_patch16_224"),
    "deit_tiny_distilled": timm_net("deit_tiny_distilled_patch16_224"),
    "swin": swin,
    "mixer": mixer,
    "poolformer_s12": timm_net("poolformer_s12"),
    "mobilevit_xxs": timm_net("mobilevit_xxs", 256),
    "deeplabv3_mobilenetv3": deeplabv3,
    "unet": lambda: (UNet(), picture(64)),
    "ssdlite_like": lambda: (Detector(), picture(128)),
    "bert": bert,
    "gpt2_like": gpt,
    "lstm_classifier": lambda: (TextClassifier(), [words()]),
    "conv_gru": lambda: (SpeechNet(), [Input("x", (1, 40, 48))]),
    "gan_generator": generator,
    "mobilenetv4_small": timm_net("mobilenetv4_conv_small"),
    "regnety_002": timm_net("regnety_002"),
    "densenet121": timm_net("densenet121"),
    "ghostnet_050": timm_net("ghostnet_050"),
    "repvit_m0_9": timm_net("repvit_m0_9"),
    "efficientformer_l1": timm_net("efficientformer_l1"),
    "fastvit_t8": timm_net("fastvit_t8"),
    "beit_like": timm_net("beit_base_patch16_224", embed_dim=96, depth=3, num_heads=3),
}


def shaken(module: nn.Module, inputs: Sequence[Input]) -> nn.Module:
    """Make random what is constant, and set the statistics of batch normalisations on random inputs.

    Fresh weights hide mistakes: zeros in biases, ones in scales, layer scales of 1e-6.
    """
    for parameter in module.parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            parameter.add_(SPREAD * torch.randn(parameter.shape))
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # a mean over all passes
        norm.train()
    if norms:
        module(*[torch.from_numpy(a) for a in arrays(inputs, 8, SEED).values()])
    return module.eval()


def export(module: nn.Module, inputs: Sequence[Input]) -> Any:
    """Return the exported program; its batch is free where torch.export keeps it so."""
    examples = tuple(torch.from_numpy(a) for a in arrays(inputs, 2, SEED).values())
    for dynamic in (tuple({0: torch.export.Dim("batch")} for _ in inputs), None):
        try:
            return torch.export.export(module, examples, dynamic_shapes=dynamic, strict=False)
        except Exception:  # noqa: BLE001 - torch.export raises many kinds where a size cannot be free
            examples = tuple(example[:1] for example in examples)
    raise RuntimeError("torch.export takes the model at no batch")


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    from safeconvert.runtimes.pytorch.model import import_torchvision

    import_torchvision()
    warnings.simplefilter("ignore")
    torch.manual_seed(SEED)
    with torch.no_grad():
        module, inputs = NETS[name]()
        program = export(shaken(module.eval(), inputs), inputs)
    torch.export.save(program, folder / "model.pt2")
    write(inputs, folder / "inputs.json")


if __name__ == "__main__":
    main()
