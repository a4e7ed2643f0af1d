"""Twins that read tokens or series: language models of transformers, torch's own modules and plain code."""

from __future__ import annotations

from typing import Any

from torch import Tensor, arange

from tests.nets_transplant import DeepLstm, FusedLlama, NanoGpt, PlainBert, StackedLstm, TorchBert

from .transplant_forms import apart, fused, hub, last_state, plain, text
from .transplants import TURNED, Inputs, Twin, features, tokens

# fmt: off

_SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_BODY: dict[str, Any] = {
    "vocab_size": 29, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
    "max_position_embeddings": 11, **_SPECIAL,
}
_OWN: dict[str, Any] = {"vocabulary": 29, "length": 11, "width": 24, "heads": 3, "depth": 2, "hidden": 40}


def placed(ids: Tensor) -> Inputs:
    """Token ids, with positions that count from 0: RoBERTa counts from its padding token on."""
    return {"input_ids": ids, "position_ids": arange(ids.shape[1])[None]}


_BERT: dict[str, Any] = {
    "inputs": text, "output": last_state, "parts": {"add_pooling_layer": False}, **_BODY, "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
BERT = hub("BertModel", "BertConfig", by="transformers BERT", **_BERT)
BERT_POOLED = hub("BertModel", "BertConfig", by="transformers BERT", **{**_BERT, "parts": {}})
BERT_EAGER = hub("BertModel", "BertConfig", by="transformers BERT, eager attention", **_BERT,
                 attn_implementation="eager")
BERT_PLACED = hub("BertModel", "BertConfig", by="transformers BERT", **{**_BERT, "inputs": placed, "parts": {}})
ROBERTA = hub("RobertaModel", "RobertaConfig", by="transformers RoBERTa", **{**_BERT, "inputs": placed, "parts": {}})
ELECTRA = hub("ElectraModel", "ElectraConfig", by="transformers ELECTRA", **{**_BERT, "parts": {}}, embedding_size=24)
BERT_TORCH = plain("torch encoder", TorchBert, **_OWN)
BERT_PLAIN = plain("own code", PlainBert, **_OWN)

_SAME = ((r"^$", ""),)
_TORCH_TO_BERT = (
    (r"^stem\.words\b", "embeddings.word_embeddings"),
    (r"^stem\.where\b", "embeddings.position_embeddings"),
    (r"^stem\.who\b", "embeddings.token_type_embeddings"),
    (r"^stem\.even\b", "embeddings.LayerNorm"),
    (r"\.in_proj_", ".in_proj."),
    fused("self_attn.in_proj", "attention.self.query", "attention.self.key", "attention.self.value"),
    (r"\.self_attn\.out_proj\b", ".attention.output.dense"),
    (r"\.linear1\b", ".intermediate.dense"),
    (r"\.linear2\b", ".output.dense"),
    (r"\.norm1\b", ".attention.output.LayerNorm"),
    (r"\.norm2\b", ".output.LayerNorm"),
    (r"\bencoder\.layers\b", "encoder.layer"),
)
_TORCH_TO_PLAIN = (
    (r"\.in_proj_", ".in_proj."),
    fused("self_attn.in_proj", "talk.ask", "talk.offer", "talk.content"),
    (r"\.self_attn\.out_proj\b", ".talk.mix"),
    (r"\.linear1\b", ".widen"),
    (r"\.linear2\b", ".narrow"),
    (r"\.norm1\b", ".calm"),
    (r"\.norm2\b", ".calm_again"),
    (r"\bencoder\.layers\b", "floors"),
)
_PLAIN_TO_BERT = (
    (r"^floors\.", "encoder.layer."),
    (r"\.talk\.ask\b", ".attention.self.query"),
    (r"\.talk\.offer\b", ".attention.self.key"),
    (r"\.talk\.content\b", ".attention.self.value"),
    (r"\.talk\.mix\b", ".attention.output.dense"),
    (r"\.calm\b", ".attention.output.LayerNorm"),
    (r"\.calm_again\b", ".output.LayerNorm"),
    (r"\.widen\b", ".intermediate.dense"),
    (r"\.narrow\b", ".output.dense"),
    *_TORCH_TO_BERT[:4],
)

ENCODERS = (
    Twin("BERT", tokens, BERT_PLACED, ROBERTA, _SAME),
    Twin("BERT", tokens, BERT, ELECTRA, _SAME),
    Twin("BERT", tokens, BERT_TORCH, BERT, _TORCH_TO_BERT),
    Twin("BERT", tokens, BERT_TORCH, BERT_PLAIN, _TORCH_TO_PLAIN),
    Twin("BERT", tokens, BERT_PLAIN, BERT, _PLAIN_TO_BERT),
    Twin("BERT", tokens, BERT_PLAIN, BERT_EAGER, _PLAIN_TO_BERT),
)

_LLAMA: dict[str, Any] = {
    "inputs": text, "vocab_size": 29, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 40, "max_position_embeddings": 16, "rms_norm_eps": 1e-6,
    "use_cache": False, **_SPECIAL,
}
LLAMA = hub("LlamaForCausalLM", "LlamaConfig", by="transformers LLaMA", **_LLAMA)
MISTRAL = hub("MistralForCausalLM", "MistralConfig", by="transformers Mistral", **_LLAMA)
PHI3 = hub("Phi3ForCausalLM", "Phi3Config", by="transformers Phi-3", **_LLAMA)
LLAMA_FUSED = plain("own code, fused", FusedLlama, vocabulary=29, width=24, heads=4, kv=2, size=6, depth=2, hidden=40)

_PHI3_TO_LLAMA = (
    fused("self_attn.qkv_proj", *apart("self_attn.")),
    fused("mlp.gate_up_proj", "mlp.gate_proj", "mlp.up_proj"),
)
_FUSED_TO_PHI3 = (
    (r"^words\b", "model.embed_tokens"),
    (r"^tower\b", "model.layers"),
    (r"\.before\.gain$", ".input_layernorm.weight"),
    (r"\.between\.gain$", ".post_attention_layernorm.weight"),
    (r"\.project\b", ".self_attn.qkv_proj"),
    (r"\.merge\b", ".self_attn.o_proj"),
    (r"\.widen\b", ".mlp.gate_up_proj"),
    (r"\.back\b", ".mlp.down_proj"),
    (r"^final\.gain$", "model.norm.weight"),
    (r"^speak\b", "lm_head"),
)

GPT2 = hub("GPT2LMHeadModel", "GPT2Config", inputs=text, vocab_size=29, n_embd=24, n_layer=2, n_head=3, n_inner=40,
           n_positions=11, use_cache=False, **_SPECIAL)
_NANO_TO_GPT2 = (
    (r"^trunk\.", "transformer.h."),
    (r"\.norm_a\b", ".ln_1"),
    (r"\.norm_m\b", ".ln_2"),
    (r"\.qkv\b", ".attn.c_attn"),
    (r"\.merge\b", ".attn.c_proj"),
    (r"\.up\b", ".mlp.c_fc"),
    (r"\.down\b", ".mlp.c_proj"),
    (r"(\.c_\w+\.weight)$", rf"\1{TURNED}"),
    (r"^(tokens|unembed)\b", "transformer.wte"),
    (r"^places\b", "transformer.wpe"),
    (r"^final\b", "transformer.ln_f"),
)

DECODERS = (
    Twin("LLaMA", tokens, LLAMA, MISTRAL, _SAME),
    Twin("LLaMA", tokens, PHI3, LLAMA, _PHI3_TO_LLAMA),
    Twin("LLaMA", tokens, LLAMA_FUSED, LLAMA, (*_FUSED_TO_PHI3, *_PHI3_TO_LLAMA)),
    Twin("LLaMA", tokens, LLAMA_FUSED, PHI3, _FUSED_TO_PHI3),
    Twin("GPT-2", tokens, plain("own code", NanoGpt, **_OWN), GPT2, _NANO_TO_GPT2),
)

_SERIES: dict[str, Any] = {"features": 5, "width": 6, "depth": 3, "classes": 4}
RECURRENT = (
    Twin("LSTM", features, plain("one module", DeepLstm, **_SERIES), plain("stacked modules", StackedLstm, **_SERIES),
         (("^readout", "answer"), (r"^rnn\.(\w+)_l(\d)$", r"cells.\2.\1_l0"))),
)

TWINS = (*ENCODERS, *DECODERS, *RECURRENT)
