"""Twins that cut images into patches: ViT and its kin, Swin, and MLPs over patches."""

from __future__ import annotations

from typing import Any

from tests.nets_transplant import PatchViT, PlainMixer, PlainResMlp

from .transplant_forms import CLASSES, Renames, apart, fused, hub, plain, pooled
from .transplants import Form, Twin, image

import timm  # isort: skip
import torchvision  # isort: skip
from timm.models.beit import Beit  # isort: skip
from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock  # isort: skip
from timm.models.swin_transformer import SwinTransformer  # isort: skip
from timm.models.vision_transformer import VisionTransformer  # isort: skip

# fmt: off

_HUB: dict[str, Any] = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8, "layer_norm_eps": 1e-6, "num_labels": CLASSES,
}
_TIMM: dict[str, Any] = {
    "img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2,
    "num_classes": CLASSES,
}
_OWN: dict[str, Any] = {
    "size": 32, "patch": 8, "width": 24, "heads": 3, "depth": 2, "hidden": 48, "classes": CLASSES,
}


def timm_model(name: str, **options: Any) -> Form:
    """A timm model by its registered name."""
    return plain("timm", timm.create_model, name, **{**_TIMM, **options})


def _hub_vit(base: str, block: str, norms: tuple[str, str], attention: tuple[str, ...], out: str) -> Renames:
    """From a timm ViT to one of transformers, whose names differ from model to model."""
    return (
        fused("attn.qkv", *attention),
        (r"\.attn\.proj\b", f".{out}"),
        (r"\bblocks\.(\d+)\.norm1\b", rf"blocks.\1.{norms[0]}"),
        (r"\bblocks\.(\d+)\.norm2\b", rf"blocks.\1.{norms[1]}"),
        (r"\bblocks\.", f"{base}{block}."),
        (r"^(cls_token)$", rf"{base}embeddings.\1"),
        (r"^dist_token$", f"{base}embeddings.distillation_token"),
        (r"^pos_embed$", f"{base}embeddings.position_embeddings"),
        (r"^patch_embed\.proj\b", f"{base}embeddings.patch_embeddings.projection"),
        (r"^norm\.", f"{base}layernorm."),
    )


_NORMS = ("layernorm_before", "layernorm_after")
_APART = apart("attention.")

VIT_TIMM = plain("timm", VisionTransformer, **_TIMM)
VIT_TORCHVISION = plain("torchvision", torchvision.models.VisionTransformer, image_size=32, patch_size=8, num_layers=2,
                        num_heads=3, hidden_dim=24, mlp_dim=48, num_classes=CLASSES)
VIT_HUB = hub("ViTForImageClassification", "ViTConfig", **_HUB)
VIT_UNFOLDED = plain("own code, unfolded patches", PatchViT, **_OWN, unfold=True, embedding=False)
VIT_LOOKED_UP = plain("own code, position embedding", PatchViT, **_OWN, unfold=False, embedding=True)

_TO_HUB = (*_hub_vit("vit.", "layers", _NORMS, _APART, "attention.o_proj"), (r"^head\.", "classifier."))
_TORCHVISION_TO_TIMM = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\b", "patch_embed.proj"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.layers\.encoder_layer_", "blocks."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\b", ".attn.proj"),
    (r"\.ln_", ".norm"),
    (r"\.mlp\.0\b", ".mlp.fc1"),
    (r"\.mlp\.3\b", ".mlp.fc2"),
    (r"^encoder\.ln\b", "norm"),
    (r"^heads\.head\b", "head"),
)
_TO_OWN = (
    fused("attn.qkv", "talk.ask", "talk.offer", "talk.content"),
    (r"\.attn\.proj\b", ".talk.mix"),
    (r"\bblocks\.", "layers."),
    (r"\.norm1\b", ".calm"),
    (r"\.norm2\b", ".calm_again"),
    (r"\.mlp\.fc1\b", ".think.0"),
    (r"\.mlp\.fc2\b", ".think.2"),
    (r"^norm\b", "last"),
    (r"^head\b", "readout"),
    (r"^patch_embed\.proj\b", "to_tokens"),
    (r"^cls_token$", "summary"),
    (r"^pos_embed$", "places"),
)

VITS = (
    Twin("ViT", image(32), VIT_TORCHVISION, VIT_TIMM, _TORCHVISION_TO_TIMM),
    Twin("ViT", image(32), VIT_TIMM, VIT_HUB, _TO_HUB),
    Twin("ViT", image(32), VIT_TORCHVISION, VIT_HUB, (*_TORCHVISION_TO_TIMM, *_TO_HUB)),
    Twin("ViT", image(32), VIT_TIMM, VIT_UNFOLDED, _TO_OWN),
    Twin("ViT", image(32), VIT_TIMM, VIT_LOOKED_UP, (*_TO_OWN, ("^places$", "places.weight"))),
    Twin("ViT", image(32), VIT_UNFOLDED, VIT_LOOKED_UP, (("^places$", "places.weight"),)),
)

_CLIP = {key: value for key, value in _HUB.items() if key not in ("layer_norm_eps", "num_labels")}

KIN = (
    Twin(
        "DeiT", image(32), timm_model("deit_tiny_distilled_patch16_224"),
        hub("DeiTForImageClassificationWithTeacher", "DeiTConfig", **_HUB),
        (*_hub_vit("deit.", "layers", _NORMS, _APART, "attention.o_proj"), (r"^head\.", "cls_classifier."),
         (r"^head_dist\.", "distillation_classifier.")),
    ),
    Twin(
        "BEiT", image(32),
        plain("timm", Beit, **_TIMM, init_values=0.1, use_abs_pos_emb=False, use_rel_pos_bias=True),
        hub("BeitForImageClassification", "BeitConfig", **_HUB, use_relative_position_bias=True),
        ((r"\.attn\.([qv])_bias$", r".attention.\1_proj.bias"), (r"\.gamma_", ".lambda_"),
         (r"\.attn\.(relative_position_bias)_table", r".\1.\1_table"),
         *_hub_vit("beit.", "layers", _NORMS, _APART, "attention.o_proj"),
         (r"^fc_norm\.", "beit.pooler.layernorm."), (r"^head\.", "classifier.")),
    ),
    Twin(
        "DINOv2", image(32), timm_model("vit_small_patch14_dinov2", num_classes=0),
        hub("Dinov2Model", "Dinov2Config", output=pooled, **{**_HUB, "mlp_ratio": 2}),
        (*_hub_vit("", "encoder.layer", ("norm1", "norm2"), _APART, "attention.o_proj"),
         (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1")),
    ),
    Twin(
        "CLIP", image(32), timm_model("vit_base_patch16_clip_quickgelu_224", num_classes=0),
        hub("CLIPVisionModel", "CLIPVisionConfig", output=pooled, **_CLIP),
        (*_hub_vit("", "encoder.layers", ("layer_norm1", "layer_norm2"), apart("self_attn."), "self_attn.out_proj"),
         (r"cls_token$", "class_embedding"), (r"position_embeddings$", "position_embedding.weight"),
         (r"patch_embeddings\.projection", "patch_embedding"), (r"^norm_pre\.", "pre_layrnorm."),
         (r"^layernorm\.", "post_layernorm.")),
    ),
    Twin(
        "SigLIP", image(32), timm_model("vit_base_patch16_siglip_224", num_classes=0),
        hub("SiglipVisionModel", "SiglipVisionConfig", output=pooled, **_CLIP, hidden_act="gelu", layer_norm_eps=1e-6),
        (*_hub_vit("", "encoder.layers", ("layer_norm1", "layer_norm2"), apart("self_attn."), "self_attn.out_proj"),
         (r"position_embeddings$", "position_embedding.weight"), (r"patch_embeddings\.projection", "patch_embedding"),
         (r"^layernorm\.", "post_layernorm."), (r"^attn_pool\.latent$", "head.probe"),
         (r"^attn_pool\.q\.(\w+)$", r"head.attention.in_proj_\1@0:1"),
         (r"^attn_pool\.kv\.(\w+)$", r"head.attention.in_proj_\1@1:3"),
         (r"^attn_pool\.proj\b", "head.attention.out_proj"), (r"^attn_pool\.norm\b", "head.layernorm"),
         (r"^attn_pool\.mlp\b", "head.mlp")),
    ),
)

_WINDOWS: dict[str, Any] = {"embed_dim": 12, "patch_size": 2, "depths": (2, 2), "num_heads": (2, 3)}
SWIN_TIMM = plain("timm", SwinTransformer, img_size=32, window_size=4, num_classes=CLASSES, **_WINDOWS)
SWIN_TORCHVISION = plain("torchvision", torchvision.models.SwinTransformer, [2, 2], 12, [2, 2], [2, 3], [4, 4],
                         num_classes=CLASSES)
SWIN_HUB = hub("SwinForImageClassification", "SwinConfig", image_size=32, window_size=4, num_labels=CLASSES, **_WINDOWS)

_SWIN_TO_TIMM = (
    (r"^features\.0\.0\b", "patch_embed.proj"),
    (r"^features\.0\.2\b", "patch_embed.norm"),
    (r"^features\.2\b", "layers.1.downsample"),
    (r"^features\.1\b", "layers.0.blocks"),
    (r"^features\.3\b", "layers.1.blocks"),
    (r"\.mlp\.0\b", ".mlp.fc1"),
    (r"\.mlp\.3\b", ".mlp.fc2"),
    (r"^head\.", "head.fc."),
)
_SWIN_TO_HUB = (
    (r"^layers\.1\.downsample", "swin.encoder.layers.0.downsample"),
    (r"^patch_embed\.proj\b", "swin.embeddings.patch_embeddings.projection"),
    (r"^patch_embed\.norm\b", "swin.embeddings.norm"),
    (r"\.attn\.(relative_position_bias)_table", r".attention.\1.\1_table"),
    fused("attn.qkv", *_APART),
    (r"\.attn\.proj\b", ".attention.o_proj"),
    (r"\.blocks\.(\d+)\.norm1\b", r".blocks.\1.layernorm_before"),
    (r"\.blocks\.(\d+)\.norm2\b", r".blocks.\1.layernorm_after"),
    (r"(^|\+ )layers\.", r"\1swin.encoder.layers."),
    (r"^norm\.", "swin.layernorm."),
    (r"^head\.fc\.", "classifier."),
)

SWINS = (
    Twin("Swin", image(32), SWIN_TORCHVISION, SWIN_TIMM, _SWIN_TO_TIMM),
    Twin("Swin", image(32), SWIN_TIMM, SWIN_HUB, _SWIN_TO_HUB),
    Twin("Swin", image(32), SWIN_TORCHVISION, SWIN_HUB, (*_SWIN_TO_TIMM, *_SWIN_TO_HUB)),
)

_PATCHES: dict[str, Any] = {"img_size": 32, "patch_size": 8, "num_blocks": 2, "embed_dim": 24, "num_classes": CLASSES}

MLPS = (
    Twin(
        "MLP-Mixer", image(32), plain("timm", MlpMixer, **_PATCHES, mlp_ratio=(0.5, 2)),
        plain("own code", PlainMixer, size=32, patch=8, width=24, depth=2, token=12, channel=48, classes=CLASSES),
        ((r"^stem\.proj\b", "entry"), (r"^blocks\.", "rounds."), (r"\.norm(\d)\b", r".even_\1"),
         (r"\.mlp_tokens\.fc1\b", ".across_in"), (r"\.mlp_tokens\.fc2\b", ".across_out"),
         (r"\.mlp_channels\.fc1\b", ".along_in"), (r"\.mlp_channels\.fc2\b", ".along_out"),
         (r"^norm\.", "calm."), (r"^head\.", "answer.")),
    ),
    Twin(
        "ResMLP", image(32), plain("timm", MlpMixer, **_PATCHES, mlp_ratio=2, block_layer=ResBlock, norm_layer=Affine),
        plain("own code", PlainResMlp, size=32, patch=8, width=24, depth=2, hidden=48, classes=CLASSES),
        ((r"^stem\.proj\b", "entry"), (r"^blocks\.", "rounds."), (r"\.norm(\d)\.alpha$", r".gain_\1"),
         (r"\.norm(\d)\.beta$", r".shift_\1"), (r"\.ls(\d)$", r".scale_\1"), (r"\.linear_tokens\b", ".across"),
         (r"\.mlp_channels\.fc1\b", ".widen"), (r"\.mlp_channels\.fc2\b", ".narrow"),
         (r"^norm\.alpha$", "gain"), (r"^norm\.beta$", "shift"), (r"^head\.", "answer.")),
    ),
)

TWINS = (*VITS, *KIN, *SWINS, *MLPS)
