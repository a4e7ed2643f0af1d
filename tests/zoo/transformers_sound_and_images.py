"""transformers models of sound, and of images with text; the form is that of `transformers_models`."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from . import torchvision_stub
from .transformers_models import (
    _BART,
    _CLIP_TEXT,
    _ENCODER,
    _GROUPED,
    _SPEECH,
    _VISION_SIDE,
    BATCH,
    IMAGE_TOKEN,
    LENGTH,
    SPREAD,
    Config,
    Kwargs,
    Model,
    _image,
    _image_and_text,
    _image_for_text,
    _text,
    _wave,
)


def _frames(width: int = 20, frames: int = 26) -> Kwargs:
    return {"input_features": torch.randn(BATCH, frames, width)}


def _sound(samples: int = 320) -> Kwargs:
    return {"input_values": torch.randn(BATCH, 1, samples)}


def _wave_to_text() -> Kwargs:
    return {"input_values": torch.randn(BATCH, 2000), "decoder_input_ids": torch.randint(5, 97, (BATCH, 7))}


def _boxes() -> Kwargs:
    return {**_text(), "visual_feats": torch.randn(BATCH, 4, 36), "visual_pos": torch.rand(BATCH, 4, 4)}


def _regions() -> Kwargs:
    return {**_text(), "visual_embeds": torch.randn(BATCH, 4, 36)}


def _mel() -> Kwargs:
    return {"input_features": torch.randn(BATCH, 13, 20)}


def _codes() -> Kwargs:
    return {"input_ids": torch.randint(0, 60, (BATCH * 3, LENGTH))}


def _patches() -> Kwargs:
    return {
        "pixel_values": torch.randn(BATCH, 4, 192),
        "pixel_attention_mask": torch.ones(BATCH, 4, dtype=torch.long),
        "spatial_shapes": torch.tensor([[2, 2], [2, 2]]),
    }


def _patch_image() -> Kwargs:
    patches: Tensor = torch.randn(16, 3 * 2 * 8 * 8)
    return {"hidden_states": patches, "grid_thw": torch.tensor([[1, 4, 4]])}


# fmt: off

_W2V_BERT: Config = {
    "vocab_size": 29, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
    "intermediate_size": 80, "feature_projection_input_dim": 20, "initializer_range": SPREAD,
    "apply_spec_augment": False, "layerdrop": 0.0, "conv_depthwise_kernel_size": 5,
}
_Q_FORMER: Config = {
    **{k: v for k, v in _ENCODER.items() if k != "type_vocab_size"}, "hidden_size": 40,
    "num_attention_heads": 4, "intermediate_size": 56, "encoder_hidden_size": 48,
}
_LLAMA: Config = {**_GROUPED, "model_type": "llama"}
_SIGLIP: Config = {**_VISION_SIDE, "model_type": "siglip_vision_model", "hidden_size": 36}

_SPEECHES = (
    Model("data2vec_audio", "data2vec-audio", "Data2VecAudioForCTC", {
        **_SPEECH, "conv_pos_kernel_size": 5}, _wave),
    Model("unispeech", "unispeech", "UniSpeechForCTC", {**_SPEECH, "num_ctc_classes": 29}, _wave),
    Model("wav2vec2_bert", "wav2vec2-bert", "Wav2Vec2BertForCTC", _W2V_BERT, _frames),
    Model("wav2vec2_bert_rotary", "wav2vec2-bert", "Wav2Vec2BertForCTC", {
        **_W2V_BERT, "position_embeddings_type": "rotary"}, _frames),
    Model("wav2vec2_conformer", "wav2vec2-conformer", "Wav2Vec2ConformerForCTC", _SPEECH, _wave),
    Model("wav2vec2_conformer_rotary", "wav2vec2-conformer", "Wav2Vec2ConformerForCTC", {
        **_SPEECH, "position_embeddings_type": "rotary"}, _wave),
    Model("sew_d", "sew-d", "SEWDForCTC", {
        **_SPEECH, "position_buckets": 8, "max_position_embeddings": 32}, _wave),
    Model("parakeet_ctc", "parakeet_ctc", "ParakeetForCTC", {
        "vocab_size": 29, "pad_token_id": 0, "encoder_config": {"hidden_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 6, "intermediate_size": 80, "conv_kernel_size": 5, "subsampling_factor": 4,
        "subsampling_conv_channels": 12, "num_mel_bins": 20, "initializer_range": SPREAD,
        "max_position_embeddings": 64, "dropout": 0.0, "layerdrop": 0.0}}, partial(_frames, 20, 32)),
    Model("lasr_ctc", "lasr_ctc", "LasrForCTC", {
        "vocab_size": 29, "pad_token_id": 0, "encoder_config": {"hidden_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 6, "intermediate_size": 80, "conv_kernel_size": 5,
        "subsampling_conv_channels": 12, "num_mel_bins": 20, "initializer_range": SPREAD}},
        partial(_frames, 20, 48)),
    Model("moonshine", "moonshine", "MoonshineForConditionalGeneration", {
        "vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "encoder_num_hidden_layers": 2,
        "decoder_num_hidden_layers": 2, "encoder_num_attention_heads": 6, "decoder_num_attention_heads": 6,
        "max_position_embeddings": 64, "initializer_range": SPREAD, "use_cache": False}, _wave_to_text),
    Model("clap_audio", "clap_audio_model", "ClapAudioModel", {
        "window_size": 4, "num_mel_bins": 16, "spec_size": 64, "patch_size": 4, "patch_stride": [4, 4],
        "patch_embeds_hidden_size": 24, "depths": [1, 2], "num_attention_heads": [4, 6], "hidden_size": 48,
        "mlp_ratio": 3.0, "enable_fusion": False, "num_classes": 5, "projection_dim": 20}, lambda: {
        "input_features": torch.randn(BATCH, 1, 256, 16), "is_longer": torch.zeros(BATCH, 1,
        dtype=torch.bool)}),
    Model("hifigan", "hifigan", "SpeechT5HifiGan", {
        "model_in_dim": 20, "upsample_initial_channel": 48, "upsample_rates": [2, 2],
        "upsample_kernel_sizes": [4, 4], "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1,
        3], [1, 3]]},
        lambda: {"spectrogram": torch.randn(BATCH, 13, 20)}),
    Model("encodec", "encodec", "EncodecModel", {
        "num_filters": 6, "hidden_size": 20, "upsampling_ratios": [4, 2], "codebook_size": 32,
        "codebook_dim": 20,
        "target_bandwidths": [24.0], "num_lstm_layers": 1}, _sound),
    Model("dac", "dac", "DacModel", {
        "encoder_hidden_size": 6, "downsampling_ratios": [2, 4], "decoder_hidden_size": 32,
        "upsampling_ratios": [4, 2], "n_codebooks": 2, "codebook_size": 32, "codebook_dim": 5}, _sound),
    Model("mimi", "mimi", "MimiModel", {
        "num_filters": 6, "hidden_size": 48, "upsampling_ratios": [4, 2], "codebook_size": 32,
        "codebook_dim": 20,
        "vector_quantization_hidden_dimension": 20, "num_hidden_layers": 2, "num_attention_heads": 6,
        "num_key_value_heads": 6, "head_dim": 8, "intermediate_size": 80, "num_quantizers": 3,
        "num_semantic_quantizers": 1,
        "upsample_groups": 48, "sliding_window": 8, "use_cache": False, "initializer_range": SPREAD}, _sound),
    Model("fastspeech2_conformer", "fastspeech2_conformer", "FastSpeech2ConformerModel", {
        "hidden_size": 48, "vocab_size": 97, "num_mel_bins": 20, "encoder_num_attention_heads": 6,
        "encoder_layers": 2, "encoder_linear_units": 80, "decoder_layers": 2,
        "decoder_num_attention_heads": 4,
        "decoder_linear_units": 72, "speech_decoder_postnet_layers": 2, "speech_decoder_postnet_units": 28,
        "duration_predictor_channels": 36, "energy_predictor_channels": 36,
        "pitch_predictor_channels": 36}, _text),
    Model("vits", "vits", "VitsModel", {
        "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "ffn_dim": 80,
        "flow_size": 20, "spectrogram_bins": 33, "upsample_initial_channel": 32, "upsample_rates": [2, 2],
        "upsample_kernel_sizes": [4, 4], "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]],
        "noise_scale": 0.0, "noise_scale_duration": 0.0, "prior_encoder_num_wavenet_layers": 2,
        "prior_encoder_num_flows": 2}, _text),
    Model("speecht5", "speecht5", "SpeechT5ForSpeechToText", {
        **{k: v for k, v in _SPEECH.items() if k not in ("num_hidden_layers",)}, "vocab_size": 97,
        "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 6, "decoder_attention_heads": 4, "encoder_ffn_dim": 80,
        "decoder_ffn_dim": 72,
        "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "decoder_start_token_id": 2, "use_cache": False,
        "max_text_positions": 32, "encoder_max_relative_position": 9}, lambda: {
        **_wave(), "decoder_input_ids": torch.randint(5, 97, (BATCH, 7))}),
    Model("musicgen_decoder", "musicgen_decoder", "MusicgenForCausalLM", {
        "vocab_size": 60, "max_position_embeddings": 32, "num_hidden_layers": 2, "ffn_dim": 80,
        "hidden_size": 48,
        "num_attention_heads": 6, "num_codebooks": 3, "initializer_factor": SPREAD, "use_cache": False,
        "pad_token_id": 60, "bos_token_id": 60}, _codes),
    Model("whisper_encoder", "whisper", "WhisperForAudioClassification", {
        **_BART, "num_mel_bins": 20, "max_source_positions": 13, "max_target_positions": 16, "num_labels": 5},
        lambda: {"input_features": torch.randn(BATCH, 20, 26)}),
)

_VISION_LANGUAGE = (
    Model("clip_text", "clip_text_model", "CLIPTextModelWithProjection", {**_CLIP_TEXT,
        "projection_dim": 28}, _text),
    Model("clip_vision", "clip_vision_model", "CLIPVisionModelWithProjection", {**_VISION_SIDE,
        "projection_dim": 28}, _image),
    Model("siglip_vision", "siglip_vision_model", "SiglipVisionModel", _VISION_SIDE, _image),
    Model("siglip2_vision", "siglip2_vision_model", "Siglip2VisionModel", {
        **{k: v for k, v in _VISION_SIDE.items() if k != "image_size"}, "patch_size": 8,
        "num_patches": 16}, _patches),
    Model("clipseg", "clipseg", "CLIPSegForImageSegmentation", {
        "text_config": _CLIP_TEXT, "vision_config": _VISION_SIDE, "projection_dim": 28,
        "extract_layers": [0, 1],
        "reduce_dim": 16, "decoder_num_attention_heads": 4, "decoder_intermediate_size": 36},
        _image_and_text),
    Model("altclip", "altclip", "AltCLIPModel", {
        "text_config": {**_ENCODER, "project_dim": 28}, "vision_config": _VISION_SIDE,
        "projection_dim": 28}, _image_and_text),
    Model("chinese_clip", "chinese_clip", "ChineseCLIPModel", {
        "text_config": _ENCODER, "vision_config": _VISION_SIDE, "projection_dim": 28}, _image_and_text),
    Model("align", "align", "AlignModel", {
        "text_config": _ENCODER, "vision_config": {"image_size": 64, "width_coefficient": 0.25,
        "depth_coefficient": 1.0,
        "hidden_dim": 80}, "projection_dim": 80}, partial(_image_and_text, 64)),
    Model("lxmert", "lxmert", "LxmertModel", {
        **{k: v for k, v in _ENCODER.items() if k != "num_hidden_layers"}, "l_layers": 2, "x_layers": 1,
        "r_layers": 1,
        "visual_feat_dim": 36}, _boxes),
    Model("visual_bert", "visual_bert", "VisualBertModel", {**_ENCODER, "visual_embedding_dim": 36},
        _regions),
    Model("bridgetower", "bridgetower", "BridgeTowerModel", {
        "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "text_config": {**_ENCODER, "hidden_size": 128, "num_attention_heads": 4},
        "vision_config": {**{k: v for k, v in _VISION_SIDE.items() if k not in ("num_attention_heads",
        "intermediate_size")}, "hidden_size": 128}}, _image_and_text),
    Model("flava", "flava", "FlavaModel", {
        "text_config": _ENCODER, "image_config": {**_VISION_SIDE}, "multimodal_config": {**{k: v for k,
        v in _VISION_SIDE.items() if k not in ("image_size", "patch_size")}},
        "hidden_size": 48, "projection_dim": 28}, _image_and_text),
    Model("instructblip_qformer", "instructblip_qformer", "InstructBlipQFormerModel", _Q_FORMER, lambda: {
        "input_ids": torch.randint(5, 97, (BATCH, LENGTH)), "query_embeds": torch.randn(BATCH, 4, 40),
        "encoder_hidden_states": torch.randn(BATCH, 5, 48)}),
    Model("blip_2_qformer", "blip_2_qformer", "Blip2QFormerModel", _Q_FORMER, lambda: {
        "query_embeds": torch.randn(BATCH, 4, 40), "encoder_hidden_states": torch.randn(BATCH, 5, 48)}),
    Model("paligemma", "paligemma", "PaliGemmaForConditionalGeneration", {
        "text_config": {**_GROUPED, "model_type": "gemma", "head_dim": 10}, "vision_config": _SIGLIP,
        "image_token_index": IMAGE_TOKEN, "projection_dim": 48}, _image_for_text),
    Model("vipllava", "vipllava", "VipLlavaForConditionalGeneration", {
        "text_config": _LLAMA, "vision_config": {**_VISION_SIDE, "model_type": "clip_vision_model",
        "hidden_size": 36},
        "image_token_index": IMAGE_TOKEN, "vision_feature_layers": [-1, -2]}, _image_for_text),
    Model("pixtral_vision", "pixtral", "PixtralVisionModel", {
        "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "intermediate_size": 80,
        "image_size": 32, "patch_size": 8, "initializer_range": SPREAD},
        lambda: {"pixel_values": torch.randn(BATCH, 3, 32, 32), "image_sizes": torch.tensor([[32,
        32]] * BATCH)}),
    Model("internvl_vision", "internvl_vision", "InternVLVisionModel", {
        **_VISION_SIDE, "image_size": [32, 32], "patch_size": [16, 16]}, _image),
    Model("qwen2_vl_text", "qwen2_vl_text", "Qwen2VLTextModel", {
        **_GROUPED, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1,
        1, 2]}}, _text),
    Model("qwen3_vl_text", "qwen3_vl_text", "Qwen3VLTextModel", {
        **_GROUPED, "head_dim": 8, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
        "mrope_section": [2, 1, 1]}}, _text),
    Model("mllama_text", "mllama_text_model", "MllamaForCausalLM", {
        **_GROUPED, "cross_attention_layers": [1], "rope_parameters": {"rope_type": "default",
        "rope_theta": 10000.0}}, _text),
    Model("gemma3n_text_shared_keys", "gemma3n_text", "Gemma3nForCausalLM", {
        **_GROUPED, "head_dim": 10, "num_hidden_layers": 4, "layer_types": ["sliding_attention",
        "full_attention"] * 2, "sliding_window": 4,
        "num_kv_shared_layers": 2, "vocab_size_per_layer_input": 97, "hidden_size_per_layer_input": 12,
        "laurel_rank": 14,
        "activation_sparsity_pattern": [0.0] * 4, "intermediate_size": [80] * 4, "altup_num_inputs": 2},
        _text),
    Model("llama4_text_dense_blocks", "llama4_text", "Llama4ForCausalLM", {
        **_GROUPED, "head_dim": 10, "intermediate_size_mlp": 72, "num_local_experts": 4,
        "num_experts_per_tok": 1, "interleave_moe_layer_step": 2,
        "attention_chunk_size": 32, "pad_token_id": 0}, _text),
    Model("chameleon_text", "chameleon", "ChameleonForConditionalGeneration", {
        **_GROUPED, "vocabulary_map": {"<image>": 96, **{f"IMGIMG{a}Z": 5 for a in "AB"}},
        "vq_config": {"embed_dim": 12, "num_embeddings": 16,
        "resolution": 32, "base_channels": 32, "channel_multiplier": [1, 1], "num_res_blocks": 1,
        "latent_channels": 12}}, _text),
    Model("kosmos_2_text", "kosmos_2_text_model", "Kosmos2TextForCausalLM", {
        "vocab_size": 97, "max_position_embeddings": 32, "embed_dim": 48, "layers": 2, "ffn_dim": 80,
        "attention_heads": 6, "init_std": SPREAD, "use_cache": False}, _text),
    Model("fuyu", "fuyu", "FuyuForCausalLM", {
        **_GROUPED, "num_key_value_heads": 6, "image_size": 32, "patch_size": 8,
        "text_config": {**_GROUPED, "num_key_value_heads": 6, "model_type": "persimmon"}}, _text),
    Model("idefics2_vision", "idefics2_vision", "Idefics2VisionTransformer", _VISION_SIDE, _image),
    Model("qwen2_5_vl_vision", "qwen2_5_vl_vision", "Qwen2_5_VisionTransformerPretrainedModel", {
        "depth": 2, "hidden_size": 48, "intermediate_size": 80, "num_heads": 6, "patch_size": 8,
        "spatial_merge_size": 2, "out_hidden_size": 40, "window_size": 32, "fullatt_block_indexes": [1]},
        _patch_image),
    Model("qwen2_vl_vision", "qwen2_vl_vision", "Qwen2VisionTransformerPretrainedModel", {
        "depth": 2, "embed_dim": 48, "hidden_size": 40, "num_heads": 6, "mlp_ratio": 2, "patch_size": 8,
        "spatial_merge_size": 2}, _patch_image),
    Model("qwen3_vl_vision", "qwen3_vl_vision", "Qwen3VLVisionModel", {
        "depth": 2, "hidden_size": 48, "intermediate_size": 80, "num_heads": 6, "patch_size": 8,
        "spatial_merge_size": 2, "out_hidden_size": 40, "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0]}, _patch_image),
    Model("florence2_vision", "florence_vision", "Florence2VisionBackbone", {
        "embed_dim": [16, 24], "depths": [1, 1], "num_heads": [2, 3], "num_groups": [2, 3],
        "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1], "patch_prenorm": [False,
        True], "window_size": 4, "projection_dim": 28}, lambda: {"hidden_states": torch.randn(BATCH, 3, 64,
        64)}),
)

# fmt: on

_MODELS: dict[str, Model] = {model.name: model for model in (*_SPEECHES, *_VISION_LANGUAGE)}


def _families() -> dict[str, tuple[str, ...]]:
    names: dict[str, list[str]] = {}
    for model in _MODELS.values():
        names.setdefault(model.type, []).append(model.name)
    return {family: tuple(members) for family, members in names.items()}


FAMILIES: dict[str, tuple[str, ...]] = _families()
"""Model type -> names of its models."""

_HOMES = {
    "SpeechT5HifiGan": "speecht5",
    "Idefics2VisionTransformer": "idefics2",
    "Kosmos2TextForCausalLM": "kosmos2",
    "Qwen2VisionTransformerPretrainedModel": "qwen2_vl",
    "Qwen2_5_VisionTransformerPretrainedModel": "qwen2_5_vl",
    "Florence2VisionBackbone": "florence2",
}
"""Class -> folder of its module, for classes that the package may not export at its top."""


def build(name: str) -> tuple[nn.Module, Kwargs]:
    """A model with random weights and the keyword arguments of its forward."""
    model = _MODELS[name]
    return _build(model, model.config)


def _build(model: Model, config: Config) -> tuple[nn.Module, Kwargs]:
    torchvision_stub.install()
    import transformers

    network = getattr(transformers, model.head, None) or _inside(model.head)
    return network(network.config_class(**config)), model.inputs()


def _inside(name: str) -> Any:
    """A part of a model: many are not exported by the package."""
    folder = _HOMES[name]
    return getattr(import_module(f"transformers.models.{folder}.modeling_{folder}"), name)
