"""One tiny random model of every architecture that remembers otherwise than by keys and values alone, and of a few that do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from trainer.lm.simple_lm import train_tokenizer

_SIZES: dict[str, Any] = {"vocab_size": 259, "hidden_size": 32, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 2}
_LAYERS: dict[str, Any] = {"intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
_OLD: dict[str, Any] = {"vocab_size": 259, "n_embd": 32, "n_layer": 2, "n_head": 4, "eos_token_id": 1}
_DELTA: dict[str, Any] = {
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
_SPACE: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
_EXPERTS: dict[str, Any] = {"num_experts": 2, "num_experts_per_tok": 1}


def _make(model: str, config: str, **values: Any) -> Callable[[], Any]:
    return lambda: getattr(hf, model)(getattr(hf, config)(**values))


MADE: dict[str, Callable[[], Any]] = {
    "gpt2": _make("GPT2LMHeadModel", "GPT2Config", **_OLD),
    "openai-gpt": _make("OpenAIGPTLMHeadModel", "OpenAIGPTConfig", **_OLD),
    "qwen3": _make("Qwen3ForCausalLM", "Qwen3Config", **_SIZES, **_LAYERS, head_dim=8),
    "mamba": _make("MambaForCausalLM", "MambaConfig", **_SIZES, state_size=8, num_hidden_layers=2),
    "mamba2": _make(
        "Mamba2ForCausalLM",
        "Mamba2Config",
        **_SIZES,
        state_size=8,
        num_hidden_layers=2,
        num_heads=8,
        head_dim=8,
        n_groups=1,
        chunk_size=8,
    ),
    "falcon_mamba": _make("FalconMambaForCausalLM", "FalconMambaConfig", **_SIZES, state_size=8, num_hidden_layers=2),
    "rwkv": _make(
        "RwkvForCausalLM", "RwkvConfig", vocab_size=259, hidden_size=32, num_hidden_layers=2, eos_token_id=1, context_length=128
    ),
    "recurrent_gemma": _make(
        "RecurrentGemmaForCausalLM",
        "RecurrentGemmaConfig",
        **_SIZES,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        lru_width=32,
        attention_window_size=64,
    ),
    "qwen3_5": _make("Qwen3_5ForCausalLM", "Qwen3_5TextConfig", **_SIZES, **_LAYERS, **_DELTA),
    "qwen3_next": _make(
        "Qwen3NextForCausalLM",
        "Qwen3NextConfig",
        **_SIZES,
        **_LAYERS,
        **_DELTA,
        **_EXPERTS,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
    "lfm2": _make(
        "Lfm2ForCausalLM",
        "Lfm2Config",
        **_SIZES,
        **_LAYERS,
        full_attn_idxs=[1],
        block_auto_adjust_ff_dim=False,
        block_ff_dim=48,
    ),
    "jamba": _make(
        "JambaForCausalLM",
        "JambaConfig",
        **_SIZES,
        **_LAYERS,
        **_EXPERTS,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        mamba_d_state=8,
        use_mamba_kernels=False,
    ),
    "bamba": _make("BambaForCausalLM", "BambaConfig", **_SIZES, **_LAYERS, **_SPACE, attn_layer_indices=[1], mamba_expand=2),
    "granitemoehybrid": _make(
        "GraniteMoeHybridForCausalLM",
        "GraniteMoeHybridConfig",
        **_SIZES,
        **_LAYERS,
        **_SPACE,
        layer_types=["mamba", "attention"],
        mamba_expand=2,
        num_local_experts=2,
        num_experts_per_tok=1,
        shared_intermediate_size=32,
    ),
    "nemotron_h": _make(
        "NemotronHForCausalLM",
        "NemotronHConfig",
        **_SIZES,
        intermediate_size=48,
        layers_block_type=["mamba", "attention"],
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        mamba_num_heads=8,
        mamba_head_dim=8,
        ssm_state_size=8,
        n_groups=1,
        chunk_size=8,
        use_mamba_kernels=False,
    ),
    "zamba2": _make(
        "Zamba2ForCausalLM",
        "Zamba2Config",
        **_SIZES,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        mamba_d_state=8,
        mamba_expand=2,
        n_mamba_heads=8,
        mamba_ngroups=1,
        chunk_size=8,
        layers_block_type=["mamba", "hybrid", "mamba"],
        num_mem_blocks=1,
        use_mamba_kernels=False,
    ),
    "falcon_h1": _make("FalconH1ForCausalLM", "FalconH1Config", **_SIZES, **_LAYERS, **_SPACE, mamba_d_ssm=64),
    "minimax": _make(
        "MiniMaxForCausalLM",
        "MiniMaxConfig",
        **_SIZES,
        **_LAYERS,
        num_local_experts=2,
        num_experts_per_tok=1,
        block_size=4,
        layer_types=["linear_attention", "full_attention"],
    ),
    "bart": _make(
        "BartForCausalLM",
        "BartConfig",
        vocab_size=259,
        d_model=32,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=48,
        is_decoder=True,
        eos_token_id=1,
    ),
}

# The families that people bring most (docs/scale.md has a row for each).
FAMILIES: dict[str, Callable[[], Any]] = {
    "GPT-2": MADE["gpt2"],
    "Llama": _make("LlamaForCausalLM", "LlamaConfig", **_SIZES, **_LAYERS),
    "Qwen2": _make("Qwen2ForCausalLM", "Qwen2Config", **_SIZES | {"vocab_size": 264}, **_LAYERS),  # its tokenizer adds one
    "Qwen3": MADE["qwen3"],
    "Gemma 3": _make("Gemma3ForCausalLM", "Gemma3TextConfig", **_SIZES, **_LAYERS, head_dim=8, sliding_window=8),
    "Mistral": _make("MistralForCausalLM", "MistralConfig", **_SIZES, **_LAYERS, sliding_window=None),
    "Mistral, sliding window": _make("MistralForCausalLM", "MistralConfig", **_SIZES, **_LAYERS, sliding_window=8),
    "Phi-3": _make("Phi3ForCausalLM", "Phi3Config", **_SIZES, **_LAYERS),
    "OPT": _make(
        "OPTForCausalLM", "OPTConfig", **_SIZES, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32
    ),
    "GPT-NeoX": _make(
        "GPTNeoXForCausalLM", "GPTNeoXConfig", **_SIZES, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    ),
    "Falcon": _make("FalconForCausalLM", "FalconConfig", **_SIZES, num_hidden_layers=2, num_attention_heads=4),
    "Mixtral (experts)": _make(
        "MixtralForCausalLM",
        "MixtralConfig",
        **_SIZES,
        **_LAYERS,
        num_local_experts=2,
        num_experts_per_tok=1,
        sliding_window=None,
    ),
    "Mamba": MADE["mamba"],
}

REFUSED: dict[str, Callable[[], Any]] = {
    "bert": _make("BertLMHeadModel", "BertConfig", **_SIZES, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4),
    "xlnet": _make("XLNetLMHeadModel", "XLNetConfig", vocab_size=259, d_model=32, n_layer=2, n_head=4, d_inner=48),
    "reformer": _make(
        "ReformerModelWithLMHead",
        "ReformerConfig",
        vocab_size=259,
        is_decoder=True,
        hidden_size=32,
        feed_forward_size=48,
        num_attention_heads=2,
        attention_head_size=16,
        axial_pos_embds=False,
        max_position_embeddings=128,
        attn_layers=["local", "local"],
        local_attn_chunk_length=8,
    ),
}


def make_folder(folder: Path, make: Callable[[], Any]) -> Path:
    """The model over bytes, its matrices large enough that a lost token shows, with a tokenizer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "A_log" not in name:
                parameter.normal_(0, 0.15, generator=draw)
    model.save_pretrained(folder)
    train_tokenizer([], 259).save_pretrained(folder)
    return folder
