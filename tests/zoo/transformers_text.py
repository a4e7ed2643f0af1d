"""More text models and time series of transformers, in the form of `transformers_models`."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from . import torchvision_stub
from .transformers_models import (
    _BART,
    _DECODER,
    _ENCODER,
    _GROUPED,
    _MIXTURE,
    _SIDES,
    _SPECIAL,
    BATCH,
    SPREAD,
    Kwargs,
    Model,
    _text,
    _text_to_text,
)


def _dated_series() -> Kwargs:
    """31 steps of the past, of which lags look back 7, and 6 of the future; two features of every date."""
    return {
        "past_values": torch.randn(BATCH, 31),
        "past_time_features": torch.randn(BATCH, 31, 2),
        "past_observed_mask": torch.ones(BATCH, 31),
        "future_values": torch.randn(BATCH, 6),
        "future_time_features": torch.randn(BATCH, 6, 2),
    }


def _plain_series() -> Kwargs:
    return {"past_values": torch.randn(BATCH, 32), "freq": torch.zeros(BATCH, 1, dtype=torch.long)}


def _trajectory() -> Kwargs:
    return {
        "states": torch.randn(BATCH, 7, 5),
        "actions": torch.randn(BATCH, 7, 3),
        "rewards": torch.randn(BATCH, 7, 1),
        "returns_to_go": torch.randn(BATCH, 7, 1),
        "timesteps": torch.arange(7).repeat(BATCH, 1),
        "attention_mask": torch.ones(BATCH, 7),
    }


# fmt: off

_ENCODERS = (
    Model("xlm_roberta", "xlm-roberta", "XLMRobertaForMaskedLM", {**_DECODER, "type_vocab_size": 3}, _text),
    Model("roformer", "roformer", "RoFormerForMaskedLM", {
        **_DECODER, "type_vocab_size": 3, "embedding_size": 48}, _text),
    Model("canine", "canine", "CanineModel", {
        **_SPECIAL, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "intermediate_size":
        80, "max_position_embeddings": 32, "initializer_range": SPREAD, "type_vocab_size": 3,
        "downsampling_rate": 4, "upsampling_kernel_size": 4, "num_hash_functions": 4, "num_hash_buckets": 17,
        "local_transformer_stride": 4}, partial(_text, 12)),
    Model("luke", "luke", "LukeForMaskedLM", {
        **_ENCODER, "entity_vocab_size": 9, "entity_emb_size": 12}, _text),
    Model("nomic_bert", "nomic_bert", "NomicBertForMaskedLM", {**_ENCODER, "head_dim": 8}, _text),
    Model("eurobert", "eurobert", "EuroBertForMaskedLM", {**_GROUPED, "head_dim": 10}, _text),
    Model("gte", "gte", "GteForMaskedLM", _ENCODER, _text),
    Model("jina_embeddings_v3", "jina_embeddings_v3", "JinaEmbeddingsV3ForMaskedLM", {
        **_DECODER, "type_vocab_size": 3}, _text),
    Model("reformer", "reformer", "ReformerForMaskedLM", {
        **_SPECIAL, "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
        "max_position_embeddings": 32, "initializer_range": SPREAD, "use_cache": False, "axial_pos_shape": [3,
        4], "axial_pos_embds_dim": [20, 28], "attention_head_size": 8, "feed_forward_size": 80, "attn_layers":
        ["local", "lsh"], "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4, "num_buckets": 2,
        "hash_seed": 0, "is_decoder": False}, partial(_text, 12)),
)

_DECODERS = (
    Model("modernbert_decoder", "modernbert-decoder", "ModernBertDecoderForCausalLM", {
        **_DECODER, "sliding_window": 4}, _text),
    Model("gemma", "gemma", "GemmaForCausalLM", {**_GROUPED, "head_dim": 10}, _text),
    Model("qwen3_next", "qwen3_next", "Qwen3NextForCausalLM", {
        **_MIXTURE, "head_dim": 10, "moe_intermediate_size": 28, "num_experts": 4,
        "shared_expert_intermediate_size": 36, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "linear_key_head_dim": 8, "linear_value_head_dim": 12, "linear_conv_kernel_dim": 3, "layer_types":
        ["linear_attention", "full_attention"]}, _text),
    Model("qwen3_5_text", "qwen3_5_text", "Qwen3_5ForCausalLM", {
        **_GROUPED, "head_dim": 10, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "linear_key_head_dim": 8, "linear_value_head_dim": 12, "linear_conv_kernel_dim": 3, "layer_types":
        ["linear_attention", "full_attention"]}, _text),
    Model("bamba", "bamba", "BambaForCausalLM", {
        **_GROUPED, "mamba_d_state": 7, "mamba_d_conv": 3, "mamba_n_heads": 6, "mamba_d_head": 16,
        "mamba_n_groups": 2, "mamba_expand": 2, "mamba_chunk_size": 4, "attn_layer_indices": [1]}, _text),
    Model("zamba2", "zamba2", "Zamba2ForCausalLM", {
        **_GROUPED, "head_dim": 10, "mamba_d_state": 7, "mamba_d_conv": 3, "mamba_expand": 2, "layer_types":
        ["mamba", "hybrid"], "mamba_ngroups": 2, "mamba_headdim": 16, "n_mamba_heads": 6, "chunk_size": 4,
        "num_mem_blocks": 1, "hybrid_layer_ids": [1], "adapter_rank": 5}, _text),
    Model("nemotron_h", "nemotron_h", "NemotronHForCausalLM", {
        **_SPECIAL, "vocab_size": 97, "hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2,
        "intermediate_size": 80, "max_position_embeddings": 32, "initializer_range": SPREAD, "use_cache":
        False, "head_dim": 10, "moe_intermediate_size": 28, "num_local_experts": 4, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 2, "topk_group": 1, "sliding_window": 4,
        "mamba_num_heads": 6, "mamba_head_dim": 16, "num_nextn_predict_layers": 0, "experts_implementation":
        "eager", "n_groups": 2, "ssm_state_size": 7, "conv_kernel": 3, "chunk_size": 4, "layers_block_type":
        ["mamba", "attention", "moe"], "moe_shared_expert_intermediate_size": 36}, _text),
    Model("falcon_h1", "falcon_h1", "FalconH1ForCausalLM", {
        **_GROUPED, "mamba_d_state": 7, "mamba_d_conv": 3, "mamba_n_heads": 6, "mamba_d_head": 16,
        "mamba_n_groups": 2, "mamba_expand": 2, "mamba_chunk_size": 4, "mamba_d_ssm": 96}, _text),
    Model("kimi_linear", "kimi_linear", "KimiLinearForCausalLM", {
        **_DECODER, "num_key_value_heads": 6, "head_dim": 8, "moe_intermediate_size": 28, "num_experts": 4,
        "num_local_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "num_shared_experts": 1,
        "kv_lora_rank": 20, "q_lora_rank": 36, "qk_nope_head_dim": 10, "qk_rope_head_dim": 8, "v_head_dim":
        14, "n_group": 2, "topk_group": 1, "linear_conv_kernel_dim": 3, "experts_implementation": "eager",
        "linear_attn_config": {"head_dim": 8, "num_heads": 6, "short_conv_kernel_size": 3, "kda_layers": [1],
        "full_attn_layers": [2]}}, _text),
    Model("minimax", "minimax", "MiniMaxForCausalLM", {
        **_MIXTURE, "head_dim": 10, "num_experts": 4, "num_local_experts": 4, "sliding_window": 4}, _text),
    Model("xlstm", "xlstm", "xLSTMForCausalLM", {
        **_SPECIAL, "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "use_cache": False,
        "num_heads": 6, "embedding_dim": 48, "num_blocks": 2, "chunk_size": 4, "mode": "inference"}, _text),
    Model("llama4_text", "llama4_text", "Llama4ForCausalLM", {
        **_MIXTURE, "head_dim": 10, "num_local_experts": 4, "intermediate_size_mlp": 80}, _text),
    Model("gemma3n_text", "gemma3n_text", "Gemma3nForCausalLM", {
        **_GROUPED, "head_dim": 10, "sliding_window": 4, "vocab_size_per_layer_input": 97,
        "hidden_size_per_layer_input": 12, "num_kv_shared_layers": 0, "laurel_rank": 9, "layer_types":
        ["sliding_attention", "full_attention"], "activation_sparsity_pattern": [0.5, 0.0]}, _text),
    Model("gemma4_text", "gemma4_text", "Gemma4ForCausalLM", {
        **_GROUPED, "head_dim": 10, "moe_intermediate_size": 28, "num_experts": 4, "sliding_window": 4,
        "experts_implementation": "eager", "vocab_size_per_layer_input": 97, "hidden_size_per_layer_input":
        12, "global_head_dim": 10, "num_kv_shared_layers": 0}, _text),
    Model("cohere2", "cohere2", "Cohere2ForCausalLM", {
        **_GROUPED, "head_dim": 10, "sliding_window": 4}, _text),
    Model("ernie4_5_moe", "ernie4_5_moe", "Ernie4_5_MoeForCausalLM", {
        **_MIXTURE, "moe_intermediate_size": 28, "num_experts": 4}, _text),
    Model("hunyuan_v1_moe", "hunyuan_v1_moe", "HunYuanMoEV1ForCausalLM", {
        **_MIXTURE, "head_dim": 10, "num_experts": 4, "num_local_experts": 4}, _text),
    Model("dbrx", "dbrx", "DbrxForCausalLM", {
        **_SPECIAL, "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
        "num_key_value_heads": 2, "max_position_embeddings": 32, "initializer_range": SPREAD, "use_cache":
        False, "d_model": 48, "n_heads": 6, "n_layers": 2, "max_seq_len": 32, "attn_config": {"kv_n_heads": 2,
        "clip_qkv": 8.0, "rope_theta": 10000.0}, "ffn_config": {"ffn_hidden_size": 28, "moe_num_experts": 4,
        "moe_top_k": 2}}, _text),
    Model("jetmoe", "jetmoe", "JetMoeForCausalLM", {
        **_MIXTURE, "head_dim": 10, "num_local_experts": 4}, _text),
    Model("phimoe", "phimoe", "PhimoeForCausalLM", {
        **_MIXTURE, "num_local_experts": 4, "sliding_window": 4}, _text),
    Model("diffllama", "diffllama", "DiffLlamaForCausalLM", {**_GROUPED, "head_dim": 10}, _text),
    Model("doge", "doge", "DogeForCausalLM", {**_MIXTURE, "num_experts": 4, "sliding_window": 4}, _text),
    Model("nanochat", "nanochat", "NanoChatForCausalLM", _GROUPED, _text),
    Model("deepseek_v32", "deepseek_v32", "DeepseekV32ForCausalLM", {
        **_DECODER, "num_key_value_heads": 6, "head_dim": 8, "moe_intermediate_size": 28, "num_local_experts":
        4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "first_k_dense_replace": 1,
        "kv_lora_rank": 20, "q_lora_rank": 36, "qk_nope_head_dim": 10, "qk_rope_head_dim": 8, "v_head_dim":
        14, "n_group": 2, "topk_group": 1, "experts_implementation": "eager", "index_n_heads": 4,
        "index_head_dim": 12, "index_topk": 5}, _text),
    Model("deepseek_v4", "deepseek_v4", "DeepseekV4ForCausalLM", {
        **_MIXTURE, "head_dim": 16, "moe_intermediate_size": 28, "num_local_experts": 4, "n_routed_experts":
        4, "n_shared_experts": 1, "q_lora_rank": 36, "qk_rope_head_dim": 8, "sliding_window": 4,
        "num_nextn_predict_layers": 0, "index_n_heads": 4, "index_head_dim": 12, "index_topk": 5}, _text),
    Model("longcat_flash", "longcat_flash", "LongcatFlashForCausalLM", {
        **_SPECIAL, "vocab_size": 97, "hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 6,
        "intermediate_size": 80, "max_position_embeddings": 32, "initializer_range": SPREAD, "use_cache":
        False, "head_dim": 8, "moe_intermediate_size": 28, "num_local_experts": 4, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "kv_lora_rank": 20, "q_lora_rank": 36, "qk_nope_head_dim": 10,
        "qk_rope_head_dim": 8, "v_head_dim": 14, "num_layers": 2, "experts_implementation": "eager",
        "expert_ffn_hidden_size": 28, "ffn_hidden_size": 80, "zero_expert_num": 2, "moe_topk": 2}, _text),
)

_ENCODER_DECODERS = (
    Model("led", "led", "LEDForConditionalGeneration", {
        **_SIDES, "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
        "initializer_range": SPREAD, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "use_cache":
        False, "init_std": SPREAD, "decoder_start_token_id": 2, "max_encoder_position_embeddings": 32,
        "max_decoder_position_embeddings": 32, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0,
        "attention_window": 4}, _text_to_text),
    Model("prophetnet", "prophetnet", "ProphetNetForConditionalGeneration", {
        **_SPECIAL, "vocab_size": 97, "hidden_size": 48, "num_attention_heads": 6, "max_position_embeddings":
        32, "use_cache": False, "encoder_ffn_dim": 80, "decoder_ffn_dim": 72, "init_std": SPREAD,
        "decoder_start_token_id": 2, "num_encoder_layers": 2, "num_decoder_layers": 2,
        "num_encoder_attention_heads": 6, "num_decoder_attention_heads": 4, "ngram": 2, "num_buckets": 5,
        "relative_max_distance": 9}, _text_to_text),
    Model("fsmt", "fsmt", "FSMTForConditionalGeneration", {
        **_BART, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "encoder_layerdrop":
        0.0, "decoder_layerdrop": 0.0, "langs": ["en", "de"], "src_vocab_size": 97, "tgt_vocab_size": 97},
        _text_to_text),
    Model("nllb_moe", "nllb-moe", "NllbMoeForConditionalGeneration", {
        **_SIDES, "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
        "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "use_cache":
        False, "num_experts": 4, "init_std": SPREAD, "decoder_start_token_id": 2, "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0, "experts_implementation": "eager", "expert_capacity": 32,
        "encoder_sparse_step": 2, "decoder_sparse_step": 2}, _text_to_text),
    Model("switch_transformers", "switch_transformers", "SwitchTransformersForConditionalGeneration", {
        **_SPECIAL, "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
        "use_cache": False, "num_experts": 4, "d_model": 48, "num_layers": 2, "num_heads": 6, "d_ff": 80,
        "d_kv": 10, "num_decoder_layers": 2, "experts_implementation": "eager"}, _text_to_text),
    Model("t5gemma", "t5gemma", "T5GemmaForConditionalGeneration", {
        **_SPECIAL, "vocab_size": 97, "initializer_range": SPREAD, "encoder": {"hidden_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 80,
        "head_dim": 10, "vocab_size": 97, "sliding_window": 4, "max_position_embeddings": 32, "use_cache":
        False, "initializer_range": SPREAD, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        "decoder": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
        "num_key_value_heads": 2, "intermediate_size": 80, "head_dim": 10, "vocab_size": 97, "sliding_window":
        4, "max_position_embeddings": 32, "use_cache": False, "initializer_range": SPREAD, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, "cross_attention_hidden_size": 48}, "is_encoder_decoder": True},
        _text_to_text),
    Model("bigbird_pegasus", "bigbird_pegasus", "BigBirdPegasusForConditionalGeneration", {
        **_SIDES, "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
        "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "use_cache":
        False, "init_std": SPREAD, "decoder_start_token_id": 2, "encoder_layerdrop": 0.0, "decoder_layerdrop":
        0.0}, _text_to_text),
    Model("pegasus_x", "pegasus_x", "PegasusXForConditionalGeneration", {
        **_SIDES, "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
        "max_position_embeddings": 32, "pad_token_id": 0, "eos_token_id": 2, "use_cache": False, "init_std":
        SPREAD, "decoder_start_token_id": 2, "forced_eos_token_id": 2, "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0}, _text_to_text),
)

_SERIES = (
    Model("informer", "informer", "InformerForPrediction", {
        **_SIDES, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "initializer_range":
        SPREAD, "use_cache": False, "init_std": SPREAD, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0,
        "prediction_length": 6, "context_length": 24, "num_time_features": 2, "lags_sequence": [1, 2, 7],
        "sampling_factor": 2}, _dated_series),
    Model("time_series_transformer", "time_series_transformer", "TimeSeriesTransformerForPrediction", {
        **_SIDES, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "use_cache": False,
        "init_std": SPREAD, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "prediction_length": 6,
        "context_length": 24, "num_time_features": 2, "lags_sequence": [1, 2, 7]}, _dated_series),
    Model("timesfm", "timesfm", "TimesFmModelForPrediction", {
        "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "intermediate_size": 80,
        "initializer_range": SPREAD, "head_dim": 8, "patch_length": 4, "horizon_length": 8, "context_length":
        32, "freq_size": 3}, _plain_series),
    Model("decision_transformer", "decision_transformer", "DecisionTransformerModel", {
        "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
        "max_position_embeddings": 32, "initializer_range": SPREAD, "bos_token_id": 1, "eos_token_id": 2,
        "use_cache": False, "n_layer": 2, "n_head": 6, "n_inner": 80, "n_positions": 32, "state_dim": 5,
        "act_dim": 3, "max_ep_len": 32}, _trajectory),
)

# fmt: on

_MODELS: dict[str, Model] = {model.name: model for model in (*_ENCODERS, *_DECODERS, *_ENCODER_DECODERS, *_SERIES)}

FAMILIES: dict[str, tuple[str, ...]] = {model.type: (model.name,) for model in _MODELS.values()}
"""Model type -> names of its models."""


def build(name: str) -> tuple[nn.Module, Kwargs]:
    """A model with random weights and the keyword arguments of its forward."""
    torchvision_stub.install()
    import transformers

    model = _MODELS[name]
    config = transformers.AutoConfig.for_model(model.type, **model.config)
    return getattr(transformers, model.head)(config), model.inputs()
