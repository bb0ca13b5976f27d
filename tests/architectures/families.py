# SPDX-License-Identifier: Apache-2.0
"""The families of language models that training is tried with: each a tiny one of random weights.

Sizes are small, but what makes attention differ is kept: grouped heads, windows and chunks shorter than the long rows,
sinks, caps, ALiBi, latent attention, sparse selection, recurrent layers, experts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from tests.engine.builders import SHAPE, VOCABULARY

WINDOW = 24
"""Of every model with windows or chunks; `tests.architectures.rows` has rows on both sides of it."""

_SHAPE = {**SHAPE, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_HEADS = {"head_dim": 16}
_FOUR_LAYERS = {"num_hidden_layers": 4}
_WINDOWED = {"sliding_window": WINDOW}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_DELTA_NET = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
}
# with few heads in the indexer many of its scores are exactly 0, and which of equal keys it takes is left to chance
_INDEXED = {"index_topk": 16, "index_n_heads": 32, "index_head_dim": 16}
_GEMMA_3 = {
    **_HEADS,
    **_WINDOWED,
    **_FOUR_LAYERS,
    "query_pre_attn_scalar": 16,
    "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
}
_GEMMA_3N = {
    **_HEADS,
    **_WINDOWED,
    **_FOUR_LAYERS,
    "intermediate_size": [96] * 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 0,
    "laurel_rank": 8,
    "altup_num_inputs": 2,
    "activation_sparsity_pattern": [0.0] * 4,
}
_GEMMA_4 = {
    **_HEADS,
    **_WINDOWED,
    **_FOUR_LAYERS,
    "global_head_dim": 32,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "image_size": 56,
}
_QWEN_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "embed_dim": 32,
    "num_heads": 2,
    "intermediate_size": 64,
    "patch_size": 8,
    "out_hidden_size": 48,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [1],
    "fullatt_block_indexes": [1],
}
_AUDIO = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "subsampling_conv_channels": [8, 4],
    "output_proj_dims": 32,
}
_MAMBA2 = {"mamba_n_heads": 4, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16}
_ROPE = {"rope_theta": 10000.0}
_M_ROPE = {"rope_parameters": {**_ROPE, "rope_type": "default", "mrope_section": [2, 2, 2]}}


@dataclass(frozen=True, slots=True)
class Family:
    """``kind`` is transformers' model_type; ``settings`` are added to a common tiny shape. ``refused`` says why rows
    that are longer than the window are refused, where they are. A multimodal model is trained on text: the settings are
    those of its language model, ``towers`` those of the parts that see and hear."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    towers: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> PreTrainedConfig:
        settings = {**_SHAPE, **self.settings}
        if self.towers:
            settings = {"text_config": settings, **self.towers}
        return AutoConfig.for_model(self.kind, **settings)


FAMILIES: dict[str, Family] = {
    "Qwen2, Qwen2.5": Family("qwen2", {"tie_word_embeddings": True}),
    "Qwen2 with windows": Family("qwen2", {**_WINDOWED, "use_sliding_window": True, "max_window_layers": 1}),
    "Qwen2-MoE": Family("qwen2_moe", {**_EXPERTS, "shared_expert_intermediate_size": 32}),
    "Qwen2-MoE with windows": Family(
        "qwen2_moe",
        {
            **_EXPERTS,
            **_WINDOWED,
            "shared_expert_intermediate_size": 32,
            "use_sliding_window": True,
            "max_window_layers": 1,
        },
    ),
    "Qwen3": Family("qwen3", _HEADS),
    "Qwen3-MoE": Family("qwen3_moe", {**_HEADS, **_EXPERTS}),
    "Qwen3-Next": Family(
        "qwen3_next",
        {**_HEADS, **_EXPERTS, **_DELTA_NET, **_FOUR_LAYERS, "shared_expert_intermediate_size": 32},
    ),
    "Qwen3.5": Family("qwen3_5_text", {**_HEADS, **_DELTA_NET, **_FOUR_LAYERS}),
    "Llama 2, 3": Family("llama"),
    "Llama with dynamic RoPE": Family(
        "llama",
        {
            "max_position_embeddings": WINDOW,
            "rope_parameters": {**_ROPE, "rope_type": "dynamic", "factor": 4.0},
        },
        refused="dynamic RoPE",
    ),
    "Llama 4 (text)": Family(
        "llama4_text",
        {
            **_HEADS,
            **_FOUR_LAYERS,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "intermediate_size_mlp": 96,
            "attention_chunk_size": WINDOW,
        },
    ),
    "Mistral": Family("mistral", _WINDOWED),
    "Mixtral": Family("mixtral", {**_LOCAL_EXPERTS, "sliding_window": None}),
    "Ministral": Family("ministral", {**_HEADS, **_WINDOWED}),
    "Gemma 2": Family("gemma2", {**_HEADS, **_WINDOWED, "query_pre_attn_scalar": 16}),
    "Gemma 3 (text)": Family("gemma3_text", _GEMMA_3),
    "Gemma 3 (multimodal)": Family("gemma3", _GEMMA_3, towers={"vision_config": _VISION}),
    "Gemma 3n (text)": Family("gemma3n_text", _GEMMA_3N),
    "Gemma 3n (text), shared keys": Family("gemma3n_text", {**_GEMMA_3N, "num_kv_shared_layers": 2}),
    "Gemma 4 (text)": Family("gemma4_text", _GEMMA_4),
    "Gemma 4 (text), shared keys": Family("gemma4_text", {**_GEMMA_4, "num_kv_shared_layers": 2}),
    "Gemma 4 (multimodal)": Family("gemma4", _GEMMA_4, towers={"vision_config": _VISION}),
    "Phi-3": Family("phi3"),
    "Phi-3 with longrope": Family(
        "phi3",
        {
            "original_max_position_embeddings": WINDOW,
            "rope_parameters": {
                **_ROPE,
                "rope_type": "longrope",
                "short_factor": [1.0] * 6,
                "long_factor": [4.0] * 6,
                "original_max_position_embeddings": WINDOW,
            },
        },
        refused="longrope RoPE",
    ),
    "Phi-3.5-MoE": Family("phimoe", {**_LOCAL_EXPERTS, **_WINDOWED}),
    "OLMo 2": Family("olmo2"),
    "OLMo 3": Family("olmo3", {**_WINDOWED, **_FOUR_LAYERS}),
    "OLMoE": Family("olmoe", {"num_experts": 4, "num_experts_per_tok": 2}),
    "Granite": Family(
        "granite",
        {
            "attention_multiplier": 0.25,
            "logits_scaling": 2.0,
            "residual_multiplier": 0.5,
            "embedding_multiplier": 2.0,
        },
    ),
    "Granite 4 (attention only)": Family(
        "granitemoehybrid",
        {
            "layer_types": ["attention"] * 2,
            "num_local_experts": 0,
            "shared_intermediate_size": 64,
            "position_embedding_type": "rope",
            "mamba_n_heads": 4,
            "mamba_d_head": 24,
            "mamba_n_groups": 1,
            "mamba_d_state": 8,
        },
    ),
    "Cohere": Family("cohere", {"logit_scale": 0.5}),
    "Cohere 2": Family("cohere2", {**_WINDOWED, **_FOUR_LAYERS, "logit_scale": 0.5}),
    "DeepSeek V2": Family("deepseek_v2", {**_LATENT, "q_lora_rank": None, "head_dim": 8}),
    "DeepSeek V3": Family("deepseek_v3", {**_LATENT, "n_group": 2, "topk_group": 1}),
    "DeepSeek V3.2": Family("deepseek_v32", {**_LATENT, **_INDEXED, "n_group": 2, "topk_group": 1}),
    "GLM-4": Family("glm4", _HEADS),
    "GLM MoE with sparse attention": Family(
        "glm_moe_dsa", {**_LATENT, **_INDEXED, "n_group": 1, "topk_group": 1}
    ),
    # all experts: with sinks the paths round each in their way, and of near ties other experts are then taken
    "GPT-OSS": Family("gpt_oss", {**_HEADS, **_LOCAL_EXPERTS, "num_experts_per_tok": 4, **_WINDOWED}),
    "SmolLM3": Family("smollm3"),
    "Falcon (RoPE)": Family("falcon", {"multi_query": True, "alibi": False}),
    "Falcon (ALiBi)": Family("falcon", {"multi_query": False, "alibi": True}),
    "Falcon-H1": Family("falcon_h1", {**_HEADS, **_MAMBA2, "mamba_d_ssm": 64, "mamba_d_head": 16}),
    "Bloom": Family("bloom", {"n_head": 4, "n_layer": 2}),
    "MPT": Family(
        "mpt", {"d_model": 48, "n_heads": 4, "n_layers": 2, "expansion_ratio": 2, "max_seq_len": 512}
    ),
    "GPT-2": Family("gpt2", {"n_embd": 48, "n_head": 4, "n_layer": 2, "n_positions": 512}),
    "GPT-NeoX": Family("gpt_neox"),
    "Jamba": Family(
        "jamba",
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    "Bamba": Family("bamba", {**_MAMBA2, "attn_layer_indices": [1], "mamba_d_head": 24}),
    "Mamba 2": Family(
        "mamba2", {"num_heads": 4, "head_dim": 24, "state_size": 8, "n_groups": 1, "chunk_size": 16}
    ),
    "LFM2": Family(
        "lfm2",
        {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3, "block_auto_adjust_ff_dim": False},
    ),
    "Nemotron-H": Family(
        "nemotron_h",
        {
            **_HEADS,
            "layers_block_type": ["mamba", "attention", "moe"],
            "num_hidden_layers": 3,
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "ssm_state_size": 8,
            "n_groups": 1,
            "chunk_size": 16,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
        },
    ),
    "Exaone 4": Family("exaone4", {**_WINDOWED, **_FOUR_LAYERS, "sliding_window_pattern": 4}),
    "HunYuan": Family("hunyuan_v1_dense", _HEADS),
    "Ernie 4.5": Family("ernie4_5", _HEADS),
    "MiniMax": Family("minimax", {**_HEADS, **_LOCAL_EXPERTS, "block_size": 16}),
    "Gemma 4 (multimodal, with sound)": Family(
        "gemma4",
        {**_GEMMA_4, "num_kv_shared_layers": 2},
        towers={"vision_config": _VISION, "audio_config": _AUDIO},
    ),
    "Qwen2-VL": Family("qwen2_vl", _M_ROPE, towers={"vision_config": {**_QWEN_VISION, "hidden_size": 48}}),
    "Qwen2.5-VL": Family("qwen2_5_vl", _M_ROPE, towers={"vision_config": _QWEN_VISION}),
    "Qwen3-VL": Family(
        "qwen3_vl",
        {**_HEADS, "rope_parameters": {**_ROPE, "rope_type": "default", "mrope_section": [2, 3, 3]}},
        towers={"vision_config": _QWEN_VISION},
    ),
    "Qwen3.5 (multimodal)": Family(
        "qwen3_5", {**_HEADS, **_DELTA_NET, **_FOUR_LAYERS}, towers={"vision_config": _QWEN_VISION}
    ),
    "Llama 4 (multimodal)": Family(
        "llama4",
        {
            **_HEADS,
            **_FOUR_LAYERS,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "intermediate_size_mlp": 96,
            "attention_chunk_size": WINDOW,
        },
        towers={
            "vision_config": {
                **_VISION,
                "vision_output_dim": 32,
                "projector_input_dim": 32,
                "projector_output_dim": 32,
            }
        },
    ),
    "Mistral 3": Family(
        "mistral3",
        {**_HEADS, "model_type": "mistral", "sliding_window": None},
        towers={"vision_config": {**_VISION, "model_type": "pixtral"}},
    ),
    "Ministral 3": Family(
        "mistral3",
        {
            **_HEADS,
            "model_type": "ministral3",
            "rope_parameters": {
                **_ROPE,
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": WINDOW,
                "llama_4_scaling_beta": 0.1,
            },
        },
        towers={"vision_config": {**_VISION, "model_type": "pixtral"}},
    ),
    "LLaVA": Family(
        "llava",
        {"model_type": "llama"},
        towers={"vision_config": {**_VISION, "model_type": "clip_vision_model", "projection_dim": 32}},
    ),
    "AFMoE": Family("afmoe", {**_HEADS, **_EXPERTS, **_WINDOWED, **_FOUR_LAYERS, "num_dense_layers": 1}),
}


MULTIMODAL = [name for name, family in FAMILIES.items() if family.towers]


def build(name: str, dtype: torch.dtype = torch.float32, vocabulary: int = VOCABULARY) -> PreTrainedModel:
    """The family's model, the same weights each time, large enough that attention matters."""
    family = FAMILIES[name]
    torch.manual_seed(0)
    config = family.config
    config.get_text_config().vocab_size = vocabulary
    model = (AutoModelForMultimodalLM if family.towers else AutoModelForCausalLM).from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(0, 0.15)
    return model.to(dtype).eval()
