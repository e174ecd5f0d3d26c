"""Causal language models of `transformers`, made tiny, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

CLASSES = 96
POSITIONS = 64
_WIDTH, _HEADS = 64, 4

_SIZES: dict[str, Any] = {
    "vocab_size": CLASSES,
    "hidden_size": _WIDTH,
    "intermediate_size": 64,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": _HEADS,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": POSITIONS,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "sliding_window": 8,
}
"""Sizes of every model, where its settings have such a name."""

_OWN: dict[str, dict[str, Any]] = {
    "bamba": {
        "mamba_n_heads": 4,
        "mamba_d_head": 32,
        "mamba_d_state": 16,
        "mamba_chunk_size": 16,
        "attn_layer_indices": [1],
    },
    "biogpt": {"hidden_dropout_prob": 0.0},
    "bloom": {"n_layer": 2, "n_head": 4},
    "codegen": {
        "n_embd": _WIDTH,
        "n_layer": 2,
        "n_head": 4,
        "rotary_dim": 8,
        "n_positions": POSITIONS,
        "n_ctx": POSITIONS,
    },
    "ctrl": {"n_embd": _WIDTH, "n_layer": 2, "n_head": 4, "dff": 64, "n_positions": POSITIONS},
    "dbrx": {
        "d_model": _WIDTH,
        "n_layers": 2,
        "n_heads": 4,
        "max_seq_len": POSITIONS,
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
    },
    "deepseek_v2": {
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 16,
        "v_head_dim": 16,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "num_key_value_heads": 4,
    },
    "deepseek_v3": {
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 16,
        "v_head_dim": 16,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "num_key_value_heads": 4,
    },
    "dots1": {
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
    },
    "exaone4": {"sliding_window_pattern": 2},
    "falcon": {"num_kv_heads": 2, "new_decoder_architecture": True},
    "falcon_h1": {
        "mamba_d_ssm": 64,
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 16,
        "mamba_chunk_size": 16,
    },
    "falcon_mamba": {"state_size": 16, "time_step_rank": 32},
    "glm4_moe": {
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
    },
    "gpt2": {"n_embd": _WIDTH, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS},
    "gpt_bigcode": {"n_embd": _WIDTH, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS},
    "gpt_neo": {
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 8,
    },
    "gptj": {
        "n_embd": _WIDTH,
        "n_layer": 2,
        "n_head": 4,
        "rotary_dim": 8,
        "n_positions": POSITIONS,
    },
    "granitemoehybrid": {
        "mamba_n_heads": 4,
        "mamba_d_head": 32,
        "mamba_d_state": 16,
        "mamba_chunk_size": 16,
        "shared_intermediate_size": 32,
        "layer_types": ["mamba", "attention"],
    },
    "granitemoeshared": {"shared_intermediate_size": 32},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 16,
        "mamba_dt_rank": 32,
        "use_mamba_kernels": False,
    },
    "jetmoe": {"kv_channels": 16},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "mamba": {"state_size": 16, "time_step_rank": 32},
    "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 2, "chunk_size": 16},
    "minimax": {"layer_types": ["full_attention", "linear_attention"], "block_size": 16},
    "mpt": {
        "d_model": _WIDTH,
        "n_layers": 2,
        "n_heads": 4,
        "max_seq_len": POSITIONS,
        "expansion_ratio": 2,
    },
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": _WIDTH},
    "phi3": {"original_max_position_embeddings": POSITIONS},
    "recurrent_gemma": {"lru_width": _WIDTH, "attention_window_size": 8, "num_hidden_layers": 3},
    "rwkv": {"attention_hidden_size": _WIDTH, "context_length": POSITIONS},
    "xglm": {"d_model": _WIDTH, "num_layers": 2, "attention_heads": 4, "ffn_dim": 64},
    "zamba2": {"mamba_d_state": 16, "n_mamba_heads": 4, "chunk_size": 16},
    "openai-gpt": {"n_embd": _WIDTH, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS},
}
"""What is particular to a model."""


def tiny_model(kind: str, **settings: Any) -> PreTrainedModel:
    """A model of the kind `kind` on the CPU in float32, from the global generator."""
    known = AutoConfig.for_model(kind)
    names = set(known.to_dict()) | set(getattr(known, "attribute_map", {}))
    common = {name: value for name, value in _SIZES.items() if name in names}
    config = AutoConfig.for_model(kind, **(common | _OWN.get(kind, {}) | settings))
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.eval()
    return model
