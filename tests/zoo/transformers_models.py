"""transformers models: the modelling code as shipped, configured a few channels wide.

Sizes of different axes differ wherever a model lets them (48 channels, 6 heads of 8, 2 key-value heads, 80
hidden units, 97 tokens, 11 positions), so that an axis taken for another one does not fit by accident.
Weights are drawn wide (`SPREAD`): at the usual 0.02 such narrow networks are close to linear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from . import torchvision_stub

BATCH = 2
LENGTH = 11
SPREAD = 0.15
IMAGE_TOKEN = 96

Config = Mapping[str, Any]
Kwargs = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Model:
    """One model class with a configuration; `name` is unique, `type` is the registered model type."""

    name: str
    type: str
    head: str
    config: Config
    inputs: Callable[[], Kwargs]


def _tokens(length: int = LENGTH) -> Tensor:
    """Tokens that are no special ones: those are numbered from 0 to 4 in every configuration."""
    return torch.randint(5, 97, (BATCH, length))


def _text(length: int = LENGTH) -> Kwargs:
    return {"input_ids": _tokens(length)}


def _padded_text() -> Kwargs:
    mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
    mask[1, -3:] = 0
    return {"input_ids": _tokens(), "attention_mask": mask}


def _text_to_text() -> Kwargs:
    return {"input_ids": _tokens(), "decoder_input_ids": _tokens(7)}


def _image(size: int = 32) -> Kwargs:
    return {"pixel_values": torch.randn(BATCH, 3, size, size)}


def _image_and_text(size: int = 32) -> Kwargs:
    return {**_image(size), **_text()}


def _image_for_text() -> Kwargs:
    """A prompt whose second to fifth token are the image's four patches."""
    tokens = _tokens()
    tokens[:, 1:5] = IMAGE_TOKEN
    return {**_image(), "input_ids": tokens}


def _image_with_points() -> Kwargs:
    return {**_image(), "input_points": 32 * torch.rand(BATCH, 1, 3, 2)}


def _document() -> Kwargs:
    corners = torch.randint(0, 16, (BATCH, LENGTH, 2))
    return {**_text(), "bbox": torch.cat((corners, corners + 5), dim=-1)}


def _video(frames: int = 4) -> Kwargs:
    return {"pixel_values": torch.randn(BATCH, frames, 3, 32, 32)}


def _wave(samples: int = 400) -> Kwargs:
    return {"input_values": torch.randn(BATCH, samples)}


def _spectrogram_to_text() -> Kwargs:
    return {"input_features": torch.randn(BATCH, 20, 26), "decoder_input_ids": _tokens(7)}


def _frames_to_text() -> Kwargs:
    return {"input_features": torch.randn(BATCH, 26, 20), "decoder_input_ids": _tokens(7)}


def _spectrogram() -> Kwargs:
    return {"input_values": torch.randn(BATCH, 40, 20)}


def _series() -> Kwargs:
    return {"past_values": torch.randn(BATCH, 24, 3)}


# fmt: off

_SPECIAL: Config = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_TEXT: Config = {
    "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
    "intermediate_size": 80, "max_position_embeddings": 32, "initializer_range": SPREAD, **_SPECIAL,
}
_ENCODER: Config = {**_TEXT, "type_vocab_size": 3}
_DECODER: Config = {**_TEXT, "use_cache": False}
_GROUPED: Config = {**_DECODER, "num_key_value_heads": 2}
_MIXTURE: Config = {
    **_GROUPED,
    "num_experts_per_tok": 2,
    "experts_implementation": "eager",  # the default one has no float64 kernel
}
_GPT2: Config = {
    "vocab_size": 97, "n_embd": 48, "n_layer": 2, "n_head": 6, "n_inner": 80, "n_positions": 32,
    "initializer_range": SPREAD, "use_cache": False, **_SPECIAL,
}
_SIDES: Config = {
    "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 6, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 80, "decoder_ffn_dim": 72, "d_model": 48,
}
_BART: Config = {
    "vocab_size": 97, **_SIDES, "max_position_embeddings": 32, "init_std": SPREAD, "use_cache": False,
    "decoder_start_token_id": 2, "forced_eos_token_id": 2, **_SPECIAL,
}
_T5: Config = {
    "vocab_size": 97, "d_model": 48, "d_kv": 10, "d_ff": 80, "num_layers": 2, "num_decoder_layers": 2,
    "num_heads": 6, "relative_attention_num_buckets": 9, "relative_attention_max_distance": 13,
    "initializer_factor": 2.0, "use_cache": False, "pad_token_id": 0, "eos_token_id": 2,
    "decoder_start_token_id": 0,
}
_VIT: Config = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "intermediate_size": 80,
    "image_size": 32, "patch_size": 16, "initializer_range": SPREAD, "num_labels": 5,
}
_PYRAMID: Config = {
    "depths": [1, 2, 1, 1], "hidden_sizes": [16, 24, 40, 56], "image_size": 64, "initializer_range": SPREAD,
    "num_labels": 5,
}
_SWIN: Config = {
    "image_size": 32, "patch_size": 2, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 3],
    "window_size": 4, "mlp_ratio": 3.0, "initializer_range": SPREAD, "num_labels": 5,
}
_SPEECH: Config = {
    **{k: v for k, v in _TEXT.items() if k != "max_position_embeddings"}, "vocab_size": 29,
    "conv_dim": [24, 32, 40], "conv_stride": [5, 2, 2], "conv_kernel": [10, 3, 3],
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "num_feat_extract_layers": 3,
    "apply_spec_augment": False, "layerdrop": 0.0,
}
_RESNET: Config = {"embedding_size": 12, "hidden_sizes": [16, 24, 40, 56], "depths": [1, 2, 1, 1]}
_STATE_SPACE: Config = {
    "vocab_size": 97, "hidden_size": 48, "state_size": 7, "num_hidden_layers": 2, "expand": 2,
    "conv_kernel": 3, "time_step_rank": 5, "use_cache": False, **_SPECIAL,
}
_VISION_SIDE: Config = {k: v for k, v in _VIT.items() if k != "num_labels"}
_CLIP_TEXT: Config = {**_TEXT, "hidden_size": 40, "num_attention_heads": 4, "intermediate_size": 72}
_LATENT_ATTENTION: Config = {
    **_MIXTURE, "num_key_value_heads": 6, "moe_intermediate_size": 28, "n_routed_experts": 4,
    "n_shared_experts": 1, "first_k_dense_replace": 1, "kv_lora_rank": 20, "q_lora_rank": 36,
    "qk_nope_head_dim": 10, "qk_rope_head_dim": 8, "v_head_dim": 14, "n_group": 2, "topk_group": 1,
}

_ENCODERS = (
    Model("bert", "bert", "BertForMaskedLM", {**_ENCODER, "attn_implementation": "eager"}, _text),
    Model("bert_sdpa", "bert", "BertForMaskedLM", {**_ENCODER, "attn_implementation": "sdpa"}, _text),
    Model("bert_base", "bert", "BertModel", _ENCODER, _text),
    Model("bert_padded", "bert", "BertForSequenceClassification", {
        **_ENCODER, "num_labels": 5}, _padded_text),
    Model("roberta", "roberta", "RobertaForSequenceClassification", {**_ENCODER, "num_labels": 5}, _text),
    Model("albert", "albert", "AlbertForMaskedLM", {**_ENCODER, "embedding_size": 20}, _text),
    Model("distilbert", "distilbert", "DistilBertForSequenceClassification", {
        "vocab_size": 97, "max_position_embeddings": 32, "n_layers": 2, "n_heads": 6, "dim": 48,
        "hidden_dim": 80, "initializer_range": SPREAD, "num_labels": 5}, _text),
    Model("electra", "electra", "ElectraForMaskedLM", {**_ENCODER, "embedding_size": 20}, _text),
    Model("deberta", "deberta", "DebertaForMaskedLM", {
        **_ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, _text),
    Model("deberta_v2", "deberta-v2", "DebertaV2ForSequenceClassification", {
        **_ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "num_labels": 5}, _text),
    Model("mpnet", "mpnet", "MPNetForMaskedLM", _TEXT, _text),
    Model("xlnet", "xlnet", "XLNetLMHeadModel", {
        "vocab_size": 97, "d_model": 48, "n_layer": 2, "n_head": 6, "d_head": 8, "d_inner": 80,
        "initializer_range": SPREAD, "use_mems_eval": False, **_SPECIAL}, _text),
    Model("longformer", "longformer", "LongformerForMaskedLM", {**_ENCODER, "attention_window": 4}, _text),
    Model("modernbert", "modernbert", "ModernBertForMaskedLM", {
        **_TEXT, "local_attention": 4, "cls_token_id": 3, "sep_token_id": 4}, _text),
    Model("fnet", "fnet", "FNetForMaskedLM", {**_ENCODER, "tpu_short_seq_length": LENGTH}, _text),
    Model("squeezebert", "squeezebert", "SqueezeBertForMaskedLM", {**_ENCODER, "embedding_size": 48}, _text),
    Model("convbert", "convbert", "ConvBertForMaskedLM", {**_ENCODER, "embedding_size": 20}, _text),
    Model("nystromformer", "nystromformer", "NystromformerForMaskedLM", {
        **_ENCODER, "num_landmarks": 4, "segment_means_seq_len": 12, "conv_kernel_size": 3}, partial(_text,
        12)),
    Model("funnel", "funnel", "FunnelForMaskedLM", {
        "vocab_size": 97, "block_sizes": [1, 2], "block_repeats": [1, 1], "num_decoder_layers": 1,
        "d_model": 48, "n_head": 6, "d_head": 10, "d_inner": 80}, _text),
    Model("esm", "esm", "EsmForMaskedLM", {
        **_TEXT, "position_embedding_type": "rotary", "mask_token_id": 3}, _text),
    Model("rembert", "rembert", "RemBertForMaskedLM", {
        **_ENCODER, "input_embedding_size": 20, "output_embedding_size": 28}, _text),
    Model("mobilebert", "mobilebert", "MobileBertForMaskedLM", {
        **_ENCODER, "embedding_size": 20, "intra_bottleneck_size": 24, "num_feedforward_networks": 2}, _text),
    Model("layoutlm", "layoutlm", "LayoutLMForMaskedLM", {
        **_ENCODER, "max_2d_position_embeddings": 32}, _document),
    Model("big_bird", "big_bird", "BigBirdForMaskedLM", {
        **_ENCODER, "attention_type": "original_full"}, _text),
    Model("xlm", "xlm", "XLMWithLMHeadModel", {
        "vocab_size": 97, "emb_dim": 48, "n_layers": 2, "n_heads": 6, "max_position_embeddings": 32,
        "init_std": SPREAD, "embed_init_std": SPREAD}, _text),
)

_DECODERS = (
    Model("gpt2", "gpt2", "GPT2LMHeadModel", _GPT2, _text),
    Model("gpt2_classifier", "gpt2", "GPT2ForSequenceClassification", {**_GPT2, "num_labels": 5}, _text),
    Model("gpt_neo", "gpt_neo", "GPTNeoForCausalLM", {
        "vocab_size": 97, "hidden_size": 48, "num_layers": 2, "num_heads": 6, "intermediate_size": 80,
        "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 32, "window_size": 5,
        "initializer_range": SPREAD, "use_cache": False, **_SPECIAL}, _text),
    Model("gpt_neox", "gpt_neox", "GPTNeoXForCausalLM", {
        **_DECODER, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5}}, _text),
    Model("gptj", "gptj", "GPTJForCausalLM", {**_GPT2, "rotary_dim": 4}, _text),
    Model("codegen", "codegen", "CodeGenForCausalLM", {**_GPT2, "n_head": 4, "rotary_dim": 4}, _text),
    Model("gpt_bigcode", "gpt_bigcode", "GPTBigCodeForCausalLM", _GPT2, _text),
    Model("openai_gpt", "openai-gpt", "OpenAIGPTLMHeadModel", _GPT2, _text),
    Model("ctrl", "ctrl", "CTRLLMHeadModel", {**_GPT2, "dff": 80}, _text),
    Model("imagegpt", "imagegpt", "ImageGPTForImageClassification", {**_GPT2, "num_labels": 5}, _text),
    Model("opt", "opt", "OPTForCausalLM", {
        "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "ffn_dim": 80,
        "max_position_embeddings": 32, "word_embed_proj_dim": 20, "init_std": SPREAD, "use_cache": False,
        **_SPECIAL}, _text),
    Model("bloom", "bloom", "BloomForCausalLM", {
        "vocab_size": 97, "hidden_size": 48, "n_layer": 2, "n_head": 6, "initializer_range": SPREAD,
        "use_cache": False, **_SPECIAL}, _text),
    Model("falcon", "falcon", "FalconForCausalLM", {**_DECODER, "ffn_hidden_size": 80}, _text),
    Model("falcon_grouped", "falcon", "FalconForCausalLM", {
        **_DECODER, "ffn_hidden_size": 80, "num_kv_heads": 2, "new_decoder_architecture": True}, _text),
    Model("falcon_alibi", "falcon", "FalconForCausalLM", {
        **_DECODER, "ffn_hidden_size": 80, "alibi": True, "multi_query": False, "parallel_attn": False},
        _text),
    Model("mpt", "mpt", "MptForCausalLM", {
        "vocab_size": 97, "d_model": 48, "n_heads": 6, "n_layers": 2, "expansion_ratio": 3, "max_seq_len": 32,
        "initializer_range": SPREAD}, _text),
    Model("xglm", "xglm", "XGLMForCausalLM", {
        "vocab_size": 97, "d_model": 48, "ffn_dim": 80, "num_layers": 2, "attention_heads": 6,
        "max_position_embeddings": 32, "init_std": SPREAD, "use_cache": False, **_SPECIAL}, _text),
    Model("biogpt", "biogpt", "BioGptForCausalLM", _DECODER, _text),
    Model("llama", "llama", "LlamaForCausalLM", {**_GROUPED, "attn_implementation": "eager"}, _text),
    Model("llama_sdpa", "llama", "LlamaForCausalLM", {**_GROUPED, "attn_implementation": "sdpa"}, _text),
    Model("llama_base", "llama", "LlamaModel", _GROUPED, _text),
    Model("llama_padded", "llama", "LlamaForSequenceClassification", {
        **_GROUPED, "num_labels": 5}, _padded_text),
    Model("mistral", "mistral", "MistralForCausalLM", {**_GROUPED, "sliding_window": 4}, _text),
    Model("mixtral", "mixtral", "MixtralForCausalLM", {**_MIXTURE, "num_local_experts": 4}, _text),
    Model("qwen2", "qwen2", "Qwen2ForCausalLM", _GROUPED, _text),
    Model("qwen2_moe", "qwen2_moe", "Qwen2MoeForCausalLM", {
        **_MIXTURE, "moe_intermediate_size": 28, "shared_expert_intermediate_size": 36, "num_experts": 4},
        _text),
    Model("qwen3", "qwen3", "Qwen3ForCausalLM", {**_GROUPED, "head_dim": 10}, _text),
    Model("qwen3_moe", "qwen3_moe", "Qwen3MoeForCausalLM", {
        **_MIXTURE, "head_dim": 10, "moe_intermediate_size": 28, "num_local_experts": 4}, _text),
    Model("gemma2", "gemma2", "Gemma2ForCausalLM", {**_GROUPED, "head_dim": 10, "sliding_window": 4}, _text),
    Model("gemma3_text", "gemma3_text", "Gemma3ForCausalLM", {
        **_GROUPED, "head_dim": 10, "sliding_window": 4, "layer_types": ["sliding_attention",
        "full_attention"]}, _text),
    Model("phi", "phi", "PhiForCausalLM", _GROUPED, _text),
    Model("phi3", "phi3", "Phi3ForCausalLM", _GROUPED, _text),
    Model("olmo", "olmo", "OlmoForCausalLM", {**_GROUPED, "clip_qkv": 8.0}, _text),
    Model("olmo2", "olmo2", "Olmo2ForCausalLM", _GROUPED, _text),
    Model("olmoe", "olmoe", "OlmoeForCausalLM", {**_MIXTURE, "num_experts": 4}, _text),
    Model("cohere", "cohere", "CohereForCausalLM", {**_GROUPED, "use_qk_norm": True}, _text),
    Model("stablelm", "stablelm", "StableLmForCausalLM", {
        **_GROUPED, "qk_layernorm": True, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5}}, _text),
    Model("persimmon", "persimmon", "PersimmonForCausalLM", _DECODER, _text),
    Model("starcoder2", "starcoder2", "Starcoder2ForCausalLM", _GROUPED, _text),
    Model("nemotron", "nemotron", "NemotronForCausalLM", {**_GROUPED, "head_dim": 10}, _text),
    Model("glm4", "glm4", "Glm4ForCausalLM", {**_GROUPED, "head_dim": 12}, _text),
    Model("granite", "granite", "GraniteForCausalLM", _GROUPED, _text),
    Model("granitemoe", "granitemoe", "GraniteMoeForCausalLM", {**_MIXTURE, "num_local_experts": 4}, _text),
    Model("smollm3", "smollm3", "SmolLM3ForCausalLM", {**_GROUPED, "no_rope_layers": [1, 0]}, _text),
    Model("gpt_oss", "gpt_oss", "GptOssForCausalLM", {
        **_MIXTURE, "head_dim": 10, "num_local_experts": 4, "sliding_window": 4}, _text),
    Model("deepseek_v2", "deepseek_v2", "DeepseekV2ForCausalLM", _LATENT_ATTENTION, _text),
    Model("deepseek_v3", "deepseek_v3", "DeepseekV3ForCausalLM", _LATENT_ATTENTION, _text),
    Model("mamba", "mamba", "MambaForCausalLM", _STATE_SPACE, _text),
    Model("falcon_mamba", "falcon_mamba", "FalconMambaForCausalLM", _STATE_SPACE, _text),
    Model("mamba2", "mamba2", "Mamba2ForCausalLM", {
        **_STATE_SPACE, "num_heads": 6, "head_dim": 16, "n_groups": 2, "chunk_size": 4}, _text),
    Model("jamba", "jamba", "JambaForCausalLM", {
        **_MIXTURE, "num_experts": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
        "use_mamba_kernels": False, "mamba_d_state": 7, "mamba_d_conv": 3, "mamba_dt_rank": 5}, _text),
    Model("recurrent_gemma", "recurrent_gemma", "RecurrentGemmaForCausalLM", {
        **_GROUPED, "num_hidden_layers": 3, "lru_width": 36, "attention_window_size": 5, "conv1d_width": 3},
        _text),
    Model("rwkv", "rwkv", "RwkvForCausalLM", {
        "vocab_size": 97, "context_length": 32, "hidden_size": 48, "attention_hidden_size": 40,
        "intermediate_size": 80, "num_hidden_layers": 2, "use_cache": False}, _text),
    Model("lfm2", "lfm2", "Lfm2ForCausalLM", {
        **_GROUPED, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}, _text),
)

_ENCODER_DECODERS = (
    Model("t5", "t5", "T5ForConditionalGeneration", _T5, _text_to_text),
    Model("t5_gated", "t5", "T5ForConditionalGeneration", {
        **_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, _text_to_text),
    Model("umt5", "umt5", "UMT5ForConditionalGeneration", _T5, _text_to_text),
    Model("longt5", "longt5", "LongT5ForConditionalGeneration", {**_T5, "local_radius": 3}, _text_to_text),
    Model("bart", "bart", "BartForConditionalGeneration", _BART, _text_to_text),
    Model("mbart", "mbart", "MBartForConditionalGeneration", _BART, _text_to_text),
    Model("pegasus", "pegasus", "PegasusForConditionalGeneration", _BART, _text_to_text),
    Model("marian", "marian", "MarianMTModel", {**_BART, "decoder_vocab_size": 97}, _text_to_text),
    Model("m2m_100", "m2m_100", "M2M100ForConditionalGeneration", {
        **_BART, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0}, _text_to_text),
    Model("whisper", "whisper", "WhisperForConditionalGeneration", {
        **_BART, "num_mel_bins": 20, "max_source_positions": 13, "max_target_positions": 16},
        _spectrogram_to_text),
    Model("speech_to_text", "speech_to_text", "Speech2TextForConditionalGeneration", {
        **_BART, "max_source_positions": 32, "max_target_positions": 16, "conv_channels": 56,
        "conv_kernel_sizes": [5, 3], "input_feat_per_channel": 20}, _frames_to_text),
)

_SPEECHES = (
    Model("wav2vec2", "wav2vec2", "Wav2Vec2ForCTC", _SPEECH, _wave),
    Model("hubert", "hubert", "HubertForCTC", {
        **_SPEECH, "do_stable_layer_norm": True, "feat_extract_norm": "layer"}, _wave),
    Model("wavlm", "wavlm", "WavLMForCTC", {**_SPEECH, "num_buckets": 9, "max_bucket_distance": 13}, _wave),
    Model("sew", "sew", "SEWForCTC", _SPEECH, _wave),
    Model("audio_spectrogram_transformer", "audio-spectrogram-transformer", "ASTForAudioClassification", {
        **{k: v for k, v in _VIT.items() if k != "image_size"}, "max_length": 40, "num_mel_bins": 20},
        _spectrogram),
    Model("patchtst", "patchtst", "PatchTSTForPrediction", {
        "num_input_channels": 3, "context_length": 24, "patch_length": 6, "patch_stride": 6, "d_model": 48,
        "num_attention_heads": 6, "ffn_dim": 80, "num_hidden_layers": 2, "prediction_length": 5,
        "loss": "mse", "init_std": SPREAD}, _series),
)

_VISION = (
    Model("vit", "vit", "ViTForImageClassification", {**_VIT, "attn_implementation": "eager"}, _image),
    Model("vit_sdpa", "vit", "ViTForImageClassification", {**_VIT, "attn_implementation": "sdpa"}, _image),
    Model("vit_base", "vit", "ViTModel", _VIT, _image),
    Model("deit", "deit", "DeiTForImageClassificationWithTeacher", _VIT, _image),
    Model("beit", "beit", "BeitForImageClassification", {
        **_VIT, "use_relative_position_bias": True, "layer_scale_init_value": 0.5}, _image),
    Model("dinov2", "dinov2", "Dinov2ForImageClassification", {**_VIT, "mlp_ratio": 3}, _image),
    Model("dinov2_swiglu", "dinov2", "Dinov2ForImageClassification", {
        **_VIT, "mlp_ratio": 3, "use_swiglu_ffn": True}, _image),
    Model("dinov2_with_registers", "dinov2_with_registers", "Dinov2WithRegistersForImageClassification", {
        **_VIT, "mlp_ratio": 3, "num_register_tokens": 3}, _image),
    Model("dinov3_vit", "dinov3_vit", "DINOv3ViTModel", {**_VIT, "num_register_tokens": 3}, _image),
    Model("vit_mae", "vit_mae", "ViTMAEForPreTraining", {
        **_VIT, "decoder_num_attention_heads": 4, "decoder_hidden_size": 40, "decoder_num_hidden_layers": 1,
        "decoder_intermediate_size": 72}, _image),
    Model("swin", "swin", "SwinForImageClassification", _SWIN, _image),
    Model("swinv2", "swinv2", "Swinv2ForImageClassification", {
        **_SWIN, "pretrained_window_sizes": [0, 0]}, _image),
    Model("focalnet", "focalnet", "FocalNetForImageClassification", {
        "image_size": 32, "patch_size": 2, "embed_dim": 24, "depths": [1, 2], "hidden_sizes": [24, 48],
        "focal_levels": [2, 2], "focal_windows": [3, 3], "mlp_ratio": 3.0, "initializer_range": SPREAD,
        "num_labels": 5}, _image),
    Model("convnext", "convnext", "ConvNextForImageClassification", _PYRAMID, partial(_image, 64)),
    Model("convnextv2", "convnextv2", "ConvNextV2ForImageClassification", _PYRAMID, partial(_image, 64)),
    Model("segformer", "segformer", "SegformerForSemanticSegmentation", {
        **_PYRAMID, "num_attention_heads": [1, 2, 4, 7], "mlp_ratios": [3, 3, 3, 3],
        "decoder_hidden_size": 36}, partial(_image, 64)),
    Model("glpn", "glpn", "GLPNForDepthEstimation", {
        **_PYRAMID, "num_attention_heads": [1, 2, 4, 7], "mlp_ratios": [3, 3, 3, 3],
        "decoder_hidden_size": 36}, partial(_image, 64)),
    Model("pvt", "pvt", "PvtForImageClassification", {
        **_PYRAMID, "num_attention_heads": [1, 2, 4, 7], "mlp_ratios": [3, 3, 3, 3]}, partial(_image, 64)),
    Model("poolformer", "poolformer", "PoolFormerForImageClassification", _PYRAMID, partial(_image, 64)),
    Model("resnet", "resnet", "ResNetForImageClassification", {
        **_RESNET, "num_labels": 5}, partial(_image, 64)),
    Model("resnet_basic", "resnet", "ResNetForImageClassification", {
        **_RESNET, "layer_type": "basic", "num_labels": 5}, partial(_image, 64)),
    Model("bit", "bit", "BitForImageClassification", {
        **_RESNET, "embedding_size": 16, "num_groups": 4, "hidden_sizes": [16, 32, 48, 64], "num_labels": 5},
        partial(_image, 64)),
    Model("regnet", "regnet", "RegNetForImageClassification", {
        **_RESNET, "groups_width": 8, "num_labels": 5}, partial(_image, 64)),
    Model("mobilenet_v1", "mobilenet_v1", "MobileNetV1ForImageClassification", {
        "depth_multiplier": 0.25, "image_size": 64, "num_labels": 5}, partial(_image, 64)),
    Model("mobilenet_v2", "mobilenet_v2", "MobileNetV2ForImageClassification", {
        "depth_multiplier": 0.25, "image_size": 64, "num_labels": 5}, partial(_image, 64)),
    Model("efficientnet", "efficientnet", "EfficientNetForImageClassification", {
        "image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 320,
        "num_labels": 5}, partial(_image, 64)),
    Model("mobilevit", "mobilevit", "MobileViTForImageClassification", {
        "image_size": 64, "hidden_sizes": [24, 32, 40], "neck_hidden_sizes": [8, 12, 16, 20, 28, 36, 60],
        "num_labels": 5}, partial(_image, 64)),
    Model("mobilevitv2", "mobilevitv2", "MobileViTV2ForImageClassification", {
        "image_size": 64, "base_attn_unit_dims": [32, 48, 64], "width_multiplier": 0.25, "num_labels": 5},
        partial(_image, 64)),
    Model("levit", "levit", "LevitForImageClassification", {
        "image_size": 64, "hidden_sizes": [24, 40, 56], "num_attention_heads": [2, 3, 4], "depths": [1, 2, 1],
        "key_dim": [8, 8, 8], "num_labels": 5}, partial(_image, 64)),
    Model("cvt", "cvt", "CvtForImageClassification", {
        "embed_dim": [16, 24, 40], "num_heads": [1, 2, 5], "depth": [1, 2, 3], "mlp_ratio": [3.0, 3.0, 3.0],
        "initializer_range": SPREAD, "num_labels": 5}, partial(_image, 64)),
    Model("hiera", "hiera", "HieraForImageClassification", {
        "image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8],
        "mlp_ratio": 3.0, "masked_unit_size": [8, 8], "initializer_range": SPREAD, "num_labels": 5},
        partial(_image, 64)),
    Model("videomae", "videomae", "VideoMAEForVideoClassification", {**_VIT, "num_frames": 4}, _video),
    Model("timesformer", "timesformer", "TimesformerForVideoClassification", {
        **_VIT, "num_frames": 4}, _video),
    Model("vivit", "vivit", "VivitForVideoClassification", {
        **{k: v for k, v in _VIT.items() if k != "patch_size"}, "num_frames": 4, "tubelet_size": [2, 16, 16]},
        _video),
    Model("yolos", "yolos", "YolosForObjectDetection", {
        **_VIT, "image_size": [32, 32], "num_detection_tokens": 7}, _image),
    Model("detr", "detr", "DetrForObjectDetection", {
        **{k: v for k, v in _BART.items() if k in _SIDES}, "init_std": SPREAD, "num_queries": 7,
        "num_labels": 5, "use_timm_backbone": False, "backbone_config": {**_RESNET, "model_type": "resnet",
        "out_features": ["stage4"]}}, partial(_image, 64)),
    Model("dpt", "dpt", "DPTForDepthEstimation", {
        **_VIT, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [12, 16,
        20, 24], "fusion_hidden_size": 28}, _image),
    Model("upernet", "upernet", "UperNetForSemanticSegmentation", {
        "hidden_size": 36, "pool_scales": [1, 2], "auxiliary_channels": 20, "num_labels": 5,
        "backbone_config": {**_RESNET, "model_type": "resnet", "out_features": ["stage1", "stage2", "stage3",
        "stage4"]}}, partial(_image, 64)),
    Model("sam", "sam", "SamModel", {
        "vision_config": {"hidden_size": 48, "output_channels": 32, "num_hidden_layers": 2,
        "num_attention_heads": 6, "image_size": 32, "patch_size": 8, "mlp_dim": 80, "num_pos_feats": 16,
        "window_size": 3, "global_attn_indexes": [1], "initializer_range": SPREAD},
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 32, "patch_size": 8,
        "mask_input_channels": 12, "image_embedding_size": 4}, "mask_decoder_config": {"hidden_size": 32,
        "mlp_dim": 72, "num_hidden_layers": 2, "num_attention_heads": 4, "iou_head_hidden_dim": 20}},
        _image_with_points),
)

_VISION_LANGUAGE = (
    Model("clip", "clip", "CLIPModel", {
        "text_config": _CLIP_TEXT, "vision_config": _VISION_SIDE, "projection_dim": 28}, _image_and_text),
    Model("siglip", "siglip", "SiglipModel", {
        "text_config": {**_CLIP_TEXT, "projection_size": 48}, "vision_config": _VISION_SIDE},
        _image_and_text),
    Model("blip", "blip", "BlipForConditionalGeneration", {
        "text_config": {**_CLIP_TEXT, "encoder_hidden_size": 48, "use_cache": False},
        "vision_config": _VISION_SIDE, "projection_dim": 28, "image_text_hidden_size": 20}, _image_and_text),
    Model("vilt", "vilt", "ViltForQuestionAnswering", {**_VIT, **_ENCODER, "num_labels": 5}, _image_and_text),
    Model("git", "git", "GitForCausalLM", {**_DECODER, "vision_config": _VISION_SIDE}, _image_and_text),
    Model("llava", "llava", "LlavaForConditionalGeneration", {
        "text_config": {**_GROUPED, "model_type": "llama"}, "vision_config": {**_VISION_SIDE,
        "model_type": "clip_vision_model", "hidden_size": 36}, "image_token_index": IMAGE_TOKEN},
        _image_for_text),
)

# fmt: on

_MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        *_ENCODERS,
        *_DECODERS,
        *_ENCODER_DECODERS,
        *_SPEECHES,
        *_VISION,
        *_VISION_LANGUAGE,
    )
}


def _families() -> dict[str, tuple[str, ...]]:
    names: dict[str, list[str]] = {}
    for model in _MODELS.values():
        names.setdefault(model.type, []).append(model.name)
    return {family: tuple(members) for family, members in names.items()}


FAMILIES: dict[str, tuple[str, ...]] = _families()
"""Model type -> names of its models."""


def build(name: str) -> tuple[nn.Module, Kwargs]:
    """A model with random weights and the keyword arguments of its forward."""
    torchvision_stub.install()
    import transformers

    model = _MODELS[name]
    config = transformers.AutoConfig.for_model(model.type, **model.config)
    return getattr(transformers, model.head)(config), model.inputs()
