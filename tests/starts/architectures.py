"""Small models of many kinds, each in two sizes: a wide and deep teacher, a narrow and shallow student."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo import torchvision_stub

torchvision_stub.install()
import timm  # noqa: E402
import transformers as hf  # noqa: E402

Batches = list[Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """One kind of model.

    Attributes:
        make: Builds it: `make(2, 3)` is twice as wide as `make(1, 3)` and has three blocks per stage.
        batch: Draws a batch of `count` inputs.
        depths: Blocks of the student and of the teacher.
    """

    make: Callable[[int, int], nn.Module]
    batch: Callable[[int], Any]
    depths: tuple[int, int] = (2, 3)

    def student(self) -> nn.Module:
        """The small model."""
        return built(lambda: self.make(1, self.depths[0]), 1)

    def teacher(self) -> nn.Module:
        """The large model."""
        return built(lambda: self.make(2, self.depths[1]), 2)

    def batches(self, batches: int = 5, count: int = 8, seed: int = 0) -> Batches:
        """Calibration batches."""
        torch.manual_seed(seed)
        return [self.batch(count) for _ in range(batches)]


def built(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A model in evaluation mode; every tensor is random, so that no norm is the identity."""
    torch.manual_seed(seed)
    model = make().eval()
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand_like(tensor))
            elif tensor.dim() == 1 and tensor.is_floating_point() and "inv_freq" not in name:
                tensor.add_(0.1 * torch.randn_like(tensor))
            elif tensor.is_floating_point() and not tensor.any():
                tensor.normal_(0, 0.1)  # a head that starts at zero
    return model


def images(size: int) -> Callable[[int], Tensor]:
    return lambda count: torch.randn(count, 3, size, size)


def tokens(length: int, name: str = "input_ids") -> Callable[[int], dict[str, Tensor]]:
    return lambda count: {name: torch.randint(5, 90, (count, length))}


def padded(length: int) -> Callable[[int], dict[str, Tensor]]:
    def batch(count: int) -> dict[str, Tensor]:
        kept = torch.arange(length)[None] < torch.randint(2, length, (count, 1))
        return {"input_ids": torch.randint(5, 90, (count, length)), "attention_mask": kept.long()}

    return batch


def bert(k: int, depth: int) -> nn.Module:
    sizes = {"hidden_size": 16 * k, "num_hidden_layers": depth, "intermediate_size": 40 * k, "initializer_range": 0.2}
    return hf.BertModel(hf.BertConfig(vocab_size=97, num_attention_heads=2 * k, max_position_embeddings=32, **sizes))


def albert(k: int, depth: int) -> nn.Module:
    sizes = {"hidden_size": 16 * k, "num_hidden_layers": depth, "intermediate_size": 40 * k, "initializer_range": 0.2}
    return hf.AlbertModel(
        hf.AlbertConfig(
            vocab_size=97, embedding_size=12, num_attention_heads=2 * k, max_position_embeddings=32, **sizes
        )
    )


def gpt2(k: int, depth: int) -> nn.Module:
    config = hf.GPT2Config(
        vocab_size=97, n_positions=32, n_embd=16 * k, n_layer=depth, n_head=2 * k, initializer_range=0.2
    )
    return hf.GPT2LMHeadModel(config)


def llama(k: int, depth: int) -> nn.Module:
    sizes = {"hidden_size": 16 * k, "num_hidden_layers": depth, "intermediate_size": 40 * k, "initializer_range": 0.2}
    return hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=97, num_attention_heads=2 * k, num_key_value_heads=k, **sizes))


def t5(k: int, depth: int) -> nn.Module:
    config = hf.T5Config(vocab_size=97, d_model=16 * k, d_kv=8, d_ff=40 * k, num_layers=depth, num_heads=2 * k)
    return hf.T5ForConditionalGeneration(config)


def clip(k: int, depth: int) -> nn.Module:
    sizes = {
        "hidden_size": 16 * k,
        "num_hidden_layers": depth,
        "num_attention_heads": 2 * k,
        "intermediate_size": 40 * k,
    }
    config = hf.CLIPVisionConfig(image_size=16, patch_size=4, projection_dim=12, **sizes)
    return hf.CLIPVisionModelWithProjection(config)


def vit(k: int, depth: int) -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=16 * k, depth=depth, num_heads=2 * k, num_classes=5
    )


def convnext(k: int, depth: int) -> nn.Module:
    return timm.create_model("convnext_atto", dims=(8 * k, 12 * k, 16 * k, 24 * k), depths=(depth,) * 4, num_classes=5)


def resnet(k: int, depth: int) -> nn.Module:
    block = timm.models.resnet.BasicBlock
    return timm.models.ResNet(block, (depth,) * 4, num_classes=5, channels=tuple(8 * k * w for w in (1, 2, 3, 4)))


def mobilenet(k: int, depth: int) -> nn.Module:
    return timm.models.mobilenetv3._gen_mobilenet_v3("mobilenetv3_small_100", 0.25 * k, depth / 2, num_classes=5)


def efficientnet(k: int, depth: int) -> nn.Module:
    make = timm.models.efficientnet._gen_efficientnet_lite
    return make("efficientnet_lite0", channel_multiplier=0.25 * k, depth_multiplier=depth / 2, num_classes=5)


def mixer(k: int, depth: int) -> nn.Module:
    return timm.models.MlpMixer(5, img_size=16, patch_size=4, num_blocks=depth, embed_dim=16 * k)


def swin(k: int, depth: int) -> nn.Module:
    return timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, embed_dim=16 * k, depths=(2, 2 * (depth - 1)),
        num_heads=(2 * k, 4 * k), num_classes=5,
    )  # fmt: skip


class Audio(nn.Module):
    """A 1-D convolutional network on sound, with strides, dilation and group norm."""

    def __init__(self, k: int, depth: int) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(1, 8 * k, 9, stride=4, padding=4)
        self.blocks = nn.ModuleList(AudioBlock(8 * k, 2**i) for i in range(depth))
        self.outlet = nn.Linear(8 * k, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.inlet(x))
        for block in self.blocks:
            x = block(x)
        return self.outlet(x.mean(-1))


class AudioBlock(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.deep = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation, groups=width)
        self.wide, self.back = nn.Conv1d(width, 2 * width, 1), nn.Conv1d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.back(F.silu(self.wide(self.deep(self.norm(x)))))


class UNet(nn.Module):
    """Down, up by transposed convolutions, and skips that are laid end to end."""

    def __init__(self, k: int, depth: int) -> None:
        super().__init__()
        a, b, c = 8 * k, 12 * k, 16 * k
        self.one, self.two = self.block(3, a), self.block(a, b)
        self.base = nn.Sequential(self.block(b, c), *(self.block(c, c) for _ in range(depth)))
        self.up, self.join = nn.ConvTranspose2d(c, b, 2, stride=2), self.block(2 * b, b)
        self.up_again, self.join_again = nn.ConvTranspose2d(b, a, 2, stride=2), self.block(2 * a, a)
        self.out = nn.Conv2d(a, 2, 1)

    @staticmethod
    def block(before: int, after: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        two = self.two(F.max_pool2d(one, 2))
        x = self.up(self.base(F.max_pool2d(two, 2)))
        x = self.up_again(self.join(torch.cat((x, two), 1)))
        return self.out(self.join_again(torch.cat((x, one), 1)))


class Recurrent(nn.Module):
    """Convolutions, two LSTM layers and a linear per step."""

    def __init__(self, k: int, depth: int) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(3, 8 * k, 3, padding=1)
        self.norm = nn.BatchNorm1d(8 * k)
        self.lstm = nn.LSTM(8 * k, 12 * k, 2, batch_first=True, bidirectional=True)
        self.hidden, self.outlet = nn.Linear(24 * k, 16 * k), nn.Linear(16 * k, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.inlet(x)).relu()
        return self.outlet(F.gelu(self.hidden(self.lstm(x.transpose(1, 2))[0])))


def _text_to_text(count: int) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(5, 90, (count, 9)), "decoder_input_ids": torch.randint(5, 90, (count, 6))}


PAIRS: dict[str, Pair] = {
    "BERT": Pair(bert, padded(11)),
    "ALBERT": Pair(albert, tokens(11), (2, 2)),
    "GPT-2": Pair(gpt2, tokens(11)),
    "LLaMA": Pair(llama, tokens(11)),
    "T5": Pair(t5, _text_to_text),
    "CLIP": Pair(clip, lambda count: {"pixel_values": torch.randn(count, 3, 16, 16)}),
    "ViT": Pair(vit, images(16)),
    "ConvNeXt": Pair(convnext, images(32), (1, 2)),
    "ResNet": Pair(resnet, images(32), (1, 2)),
    "MobileNetV3": Pair(mobilenet, images(32), (1, 2)),
    "EfficientNet": Pair(efficientnet, images(32), (1, 2)),
    "Mixer": Pair(mixer, images(16)),
    "Swin": Pair(swin, images(32)),
    "audio": Pair(Audio, lambda count: torch.randn(count, 1, 120)),
    "U-Net": Pair(UNet, images(16), (1, 2)),
    "LSTM": Pair(Recurrent, lambda count: torch.randn(count, 3, 14), (1, 1)),
}


def cast(batch: Any, dtype: torch.dtype) -> Any:
    """A batch whose floating tensors have another type."""
    return torch.utils._pytree.tree_map_only(
        torch.Tensor, lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, batch
    )
