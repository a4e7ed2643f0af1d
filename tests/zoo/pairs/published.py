"""Published configurations of transformers models, written out: nothing is downloaded.

A later model's row changes what it says of an earlier one's (`of`). Vocabularies are kept, because tables are pairs'
largest tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Kwargs = dict[str, Tensor]


def _text() -> Kwargs:
    return {"input_ids": torch.arange(8).reshape(1, 8) + 5}


def _causal() -> Kwargs:
    """With a mask: without one, causal models ask for values of positions."""
    return {**_text(), "attention_mask": torch.ones(1, 8, dtype=torch.long)}


def _text_to_text() -> Kwargs:
    return {**_text(), "decoder_input_ids": _text()["input_ids"]}


def _image() -> Kwargs:
    return {"pixel_values": torch.zeros(1, 3, 224, 224)}


def _image_and_text() -> Kwargs:
    return {**_image(), **_text()}


def _wave() -> Kwargs:
    return {"input_values": torch.zeros(1, 8000)}


def _mel(bins: int) -> Callable[[], Kwargs]:
    return lambda: {
        "input_features": torch.zeros(1, bins, 3000),
        **{f"decoder_{name}": tensor for name, tensor in _causal().items()},
    }


@dataclass(frozen=True, slots=True)
class Published:
    """A class of transformers (its configuration has the same name but for the ending), settings and inputs."""

    name: str
    settings: Mapping[str, Any]
    inputs: Callable[[], Kwargs]
    config: str


# fmt: off

def _bert(width: int, depth: int, heads: int, **more: Any) -> dict[str, Any]:
    return {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads,
            "intermediate_size": 4 * width, **more}


def _decoder(width: int, depth: int, heads: int, hidden: int, vocabulary: int, **more: Any) -> dict[str, Any]:
    return {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads, "use_cache": False,
            "intermediate_size": hidden, "vocab_size": vocabulary, "pad_token_id": 0, **more}


def _t5(width: int, depth: int, heads: int, hidden: int, size: int = 64) -> dict[str, Any]:
    return {"d_model": width, "num_layers": depth, "num_heads": heads, "d_ff": hidden, "d_kv": size,
            "use_cache": False}


def _sides(width: int, depth: int, heads: int, **more: Any) -> dict[str, Any]:
    return {"d_model": width, "encoder_layers": depth, "decoder_layers": depth, "encoder_attention_heads": heads,
            "decoder_attention_heads": heads, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width,
            "use_cache": False, **more}


def _gpt2(width: int, depth: int, heads: int) -> dict[str, Any]:
    return {"n_embd": width, "n_layer": depth, "n_head": heads, "use_cache": False}


def _clip(vision: dict[str, Any], text: dict[str, Any], shared: int) -> dict[str, Any]:
    return {"vision_config": vision, "text_config": text, "projection_dim": shared}


_ROWS: Mapping[str, tuple[str, Callable[[], Kwargs], Mapping[str, Mapping[str, Any]]]] = {
    "BertForMaskedLM": ("Bert", _text, {
        "bert_large": _bert(1024, 24, 16), "bert_base": _bert(768, 12, 12), "bert_mini": _bert(256, 4, 4),
        "bert_tiny": _bert(128, 2, 2)}),
    "RobertaForMaskedLM": ("Roberta", _text, {
        "roberta_large": _bert(1024, 24, 16, vocab_size=50265, max_position_embeddings=514),
        "roberta_base": _bert(768, 12, 12, vocab_size=50265, max_position_embeddings=514)}),
    "DistilBertForMaskedLM": ("DistilBert", _text, {
        "distilbert": {}, "distilbert_half": {"dim": 384, "n_heads": 6, "hidden_dim": 1536, "n_layers": 3}}),
    "ElectraForPreTraining": ("Electra", _text, {
        "electra_large": _bert(1024, 24, 16, embedding_size=1024), "electra_base": _bert(768, 12, 12,
        embedding_size=768)}),
    "AlbertForMaskedLM": ("Albert", _text, {
        "albert_xxlarge": _bert(4096, 12, 64), "albert_base": _bert(768, 12, 12)}),
    "DebertaV2ForMaskedLM": ("DebertaV2", _text, {
        name: _bert(width, depth, heads, vocab_size=128100, relative_attention=True, position_buckets=256,
        norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False,
        type_vocab_size=0) for name, width, depth, heads in (("deberta_v3_large", 1024, 24, 16),
        ("deberta_v3_small", 768, 6, 12), ("deberta_v3_xsmall", 384, 12, 6))}),
    "LlamaForCausalLM": ("Llama", _causal, {
        "llama_7b": _decoder(4096, 32, 32, 11008, 32000),
        "tinyllama_1b": _decoder(2048, 22, 32, 5632, 32000, num_key_value_heads=4),
        "sheared_llama_1.3b": _decoder(2048, 24, 16, 5504, 32000),
        "llama3_8b": _decoder(4096, 32, 32, 14336, 128256, num_key_value_heads=8),
        "llama3_1b": _decoder(2048, 16, 32, 8192, 128256, num_key_value_heads=8, tie_word_embeddings=True)}),
    "MistralForCausalLM": ("Mistral", _causal, {
        "mistral_7b": _decoder(4096, 32, 32, 14336, 32000, num_key_value_heads=8, sliding_window=None)}),
    "Phi3ForCausalLM": ("Phi3", _causal, {"phi3_mini": _decoder(3072, 32, 32, 8192, 32064)}),
    "Qwen2ForCausalLM": ("Qwen2", _causal, {
        "qwen2_7b": _decoder(3584, 28, 28, 18944, 151936, num_key_value_heads=4),
        "qwen2_1.5b": _decoder(1536, 28, 12, 8960, 151936, num_key_value_heads=2),
        "qwen2_0.5b": _decoder(896, 24, 14, 4864, 151936, num_key_value_heads=2, tie_word_embeddings=True)}),
    "Qwen3ForCausalLM": ("Qwen3", _causal, {
        "qwen3_8b": _decoder(4096, 36, 32, 12288, 151936, num_key_value_heads=8, head_dim=128),
        "qwen3_0.6b": _decoder(1024, 28, 16, 3072, 151936, num_key_value_heads=8, head_dim=128)}),
    "GemmaForCausalLM": ("Gemma", _causal, {
        "gemma_7b": _decoder(3072, 28, 16, 24576, 256000, num_key_value_heads=16, head_dim=256),
        "gemma_2b": _decoder(2048, 18, 8, 16384, 256000, num_key_value_heads=1, head_dim=256)}),
    "Gemma2ForCausalLM": ("Gemma2", _causal, {
        "gemma2_9b": _decoder(3584, 42, 16, 14336, 256000, num_key_value_heads=8, head_dim=256),
        "gemma2_2b": _decoder(2304, 26, 8, 9216, 256000, num_key_value_heads=4, head_dim=256)}),
    "GPTNeoXForCausalLM": ("GPTNeoX", _causal, {
        "pythia_6.9b": _decoder(4096, 32, 32, 16384, 50432), "pythia_160m": _decoder(768, 12, 12, 3072, 50304)}),
    "OPTForCausalLM": ("OPT", _causal, {
        "opt_6.7b": {**_decoder(4096, 32, 32, 0, 50272), "ffn_dim": 16384, "word_embed_proj_dim": 4096},
        "opt_125m": {**_decoder(768, 12, 12, 0, 50272), "ffn_dim": 3072, "word_embed_proj_dim": 768}}),
    "BloomForCausalLM": ("Bloom", _causal, {
        "bloom_7b": {"hidden_size": 4096, "n_layer": 30, "n_head": 32, "use_cache": False, "vocab_size": 250880},
        "bloom_560m": {"hidden_size": 1024, "n_layer": 24, "n_head": 16, "use_cache": False, "vocab_size": 250880}}),
    "GPT2LMHeadModel": ("GPT2", _causal, {
        "gpt2_xl": _gpt2(1600, 48, 25), "gpt2_medium": _gpt2(1024, 24, 16), "gpt2": _gpt2(768, 12, 12)}),
    "MambaForCausalLM": ("Mamba", _causal, {
        "mamba_2.8b": {"hidden_size": 2560, "num_hidden_layers": 64, "use_cache": False},
        "mamba_130m": {"hidden_size": 768, "num_hidden_layers": 24, "use_cache": False}}),
    "T5ForConditionalGeneration": ("T5", _text_to_text, {
        "t5_large": _t5(1024, 24, 16, 4096), "t5_base": _t5(768, 12, 12, 3072), "t5_small": _t5(512, 6, 8, 2048),
        "flan_t5_large": {**_t5(1024, 24, 16, 2816), "feed_forward_proj": "gated-gelu"},
        "flan_t5_small": {**_t5(512, 8, 6, 1024), "feed_forward_proj": "gated-gelu"}}),
    "BartForConditionalGeneration": ("Bart", _text_to_text, {
        "bart_large": _sides(1024, 12, 16), "bart_base": _sides(768, 6, 12)}),
    "WhisperForConditionalGeneration": ("Whisper", _mel(80), {
        "whisper_large": _sides(1280, 32, 20), "whisper_small": _sides(768, 12, 12),
        "whisper_tiny": _sides(384, 4, 6)}),
    "Wav2Vec2ForCTC": ("Wav2Vec2", _wave, {
        "wav2vec2_large": _bert(1024, 24, 16), "wav2vec2_base": _bert(768, 12, 12)}),
    "ViTForImageClassification": ("ViT", _image, {
        "vit_large": _bert(1024, 24, 16), "vit_base": _bert(768, 12, 12), "vit_tiny": _bert(192, 12, 3)}),
    "Dinov2ForImageClassification": ("Dinov2", _image, {
        "dinov2_large_labels": _bert(1024, 24, 16, patch_size=14, image_size=518),
        "dinov2_small_labels": _bert(384, 12, 6, patch_size=14, image_size=518)}),
    "Dinov2Model": ("Dinov2", _image, {"dinov2_large": _bert(1024, 24, 16, patch_size=14, image_size=518)}),
    "BeitForImageClassification": ("Beit", _image, {
        "beit_large": _bert(1024, 24, 16, use_relative_position_bias=True),
        "beit_base": _bert(768, 12, 12, use_relative_position_bias=True)}),
    "ConvNextForImageClassification": ("ConvNext", _image, {
        "convnext_base": {"depths": [3, 3, 27, 3], "hidden_sizes": [128, 256, 512, 1024]}, "convnext_tiny": {}}),
    "ResNetForImageClassification": ("ResNet", _image, {"resnet_101": {"depths": [3, 4, 23, 3]}, "resnet_50": {}}),
    "SwinForImageClassification": ("Swin", _image, {
        "swin_large": {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48]}, "swin_tiny": {}}),
    "SegformerForSemanticSegmentation": ("Segformer", _image, {
        "segformer_b5": {"depths": [3, 6, 40, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
        "segformer_b0": {}}),
    "CLIPVisionModel": ("CLIPVision", _image, {"clip_vision_large": _bert(1024, 24, 16, patch_size=14)}),
    "CLIPModel": ("CLIP", _image_and_text, {
        "clip_large": _clip(_bert(1024, 24, 16, patch_size=14), _bert(768, 12, 12), 768),
        "clip_base": _clip(_bert(768, 12, 12, patch_size=32), _bert(512, 12, 8), 512)}),
    "SiglipModel": ("Siglip", _image_and_text, {
        "siglip_large": _clip(_bert(1024, 24, 16), _bert(1024, 24, 16, projection_size=1024), 1024),
        "siglip_base": _clip(_bert(768, 12, 12), _bert(768, 12, 12), 768)}),
}

# fmt: on

MODELS: dict[str, Published] = {
    short: Published(name, settings, inputs, f"{config}Config")
    for name, (config, inputs, rows) in _ROWS.items()
    for short, settings in rows.items()
}

PAIRS = """
bert: bert_large bert_mini
bert: bert_base bert_tiny
roberta: roberta_large roberta_base
distilbert: distilbert distilbert_half
electra: electra_large electra_base
albert: albert_xxlarge albert_base
deberta: deberta_v3_large deberta_v3_small
deberta: deberta_v3_large deberta_v3_xsmall
llama: llama_7b sheared_llama_1.3b
llama: llama_7b tinyllama_1b
llama: llama3_8b llama3_1b
qwen: qwen2_7b qwen2_0.5b
qwen: qwen2_7b qwen2_1.5b
qwen: qwen3_8b qwen3_0.6b
gemma: gemma_7b gemma_2b
gemma: gemma2_9b gemma2_2b
neox: pythia_6.9b pythia_160m
opt: opt_6.7b opt_125m
bloom: bloom_7b bloom_560m
gpt2: gpt2_xl gpt2
gpt2: gpt2_medium gpt2
mamba: mamba_2.8b mamba_130m
t5: t5_large t5_small
t5: flan_t5_large flan_t5_small
bart: bart_large bart_base
whisper: whisper_large whisper_tiny
whisper: whisper_small whisper_tiny
wav2vec2: wav2vec2_large wav2vec2_base
vit: vit_large vit_tiny
dino: dinov2_large_labels dinov2_small_labels
beit: beit_large beit_base
convnext: convnext_base convnext_tiny
resnet: resnet_101 resnet_50
swin: swin_large swin_tiny
segformer: segformer_b5 segformer_b0
clip: clip_large clip_base
siglip: siglip_large siglip_base
"""


def build(name: str) -> tuple[nn.Module, Kwargs]:
    """The model, on the default device, and its inputs on the CPU.

    Attention is the eager kind: with the others, causal models ask for values of the mask. Neither it nor positions
    have values on the meta device.
    """
    import transformers

    model = MODELS[name]
    settings = getattr(transformers, model.config)(**model.settings, attn_implementation="eager")
    with torch.device("cpu"):
        inputs = model.inputs()
    return getattr(transformers, model.name)(settings), inputs
