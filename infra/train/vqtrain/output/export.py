"""Stage `export`: the averaged weights of a run as a checkpoint folder in the diffusers layout, fp16 safetensors."""

from __future__ import annotations

import json
from pathlib import Path

from ..config import Config
from ..training.corpus import load_averaged, load_corpus
from ..training.train_decoder import load_vqvae
from ..words.tokenizer import MERGES, ClipTokenizer
from ..words.vocabulary import Vocabulary
from . import tensorfile

VOCABULARY = "vocabulary.txt"
"""The words that the model knows, one a line."""
DIFFUSERS_VERSION = "0.20.2"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def export(config: Config, folder: Path) -> None:
    """Writes the whole folder; prints its size. Files: see diffusers' `VQDiffusionPipeline.save_pretrained`."""
    corpus = load_corpus(config)
    model, vq = load_averaged(config, corpus), load_vqvae(config)
    words = Vocabulary(config, corpus)
    weights = {
        "vqvae/diffusion_pytorch_model": vq.state_dict(),
        "transformer/diffusion_pytorch_model": model.transformer.state_dict(),
        "text_encoder/model": model.text_encoder.exported(config.text.vocab_size, words.vectors_of_others()),
        "learned_classifier_free_sampling_embeddings/diffusion_pytorch_model": {"embeddings": model.empty.detach()},
    }
    texts = configurations(config, corpus.tokens.side)
    for part in (*weights, *texts):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
    for part, tensors in weights.items():
        tensorfile.save_half(folder / f"{part}.safetensors", tensors, bits=config.run.weight_bits)
    for part, content in texts.items():
        (folder / part).write_text(json.dumps(content, indent=2) + "\n")
    write_tokenizer(folder / "tokenizer")
    (folder / VOCABULARY).write_text("".join(f"{word}\n" for word in words.known()), encoding="utf-8")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB")


def configurations(config: Config, side: int) -> dict[str, dict]:
    """Every JSON file of the folder, by path."""
    vq, text, denoiser = config.vq, config.text, config.transformer
    blocks = len(vq.channels)
    return {
        "model_index.json": {
            "_class_name": "VQDiffusionPipeline",
            "_diffusers_version": DIFFUSERS_VERSION,
            "learned_classifier_free_sampling_embeddings": ["vq_diffusion", "LearnedClassifierFreeSamplingEmbeddings"],
            "scheduler": ["diffusers", "VQDiffusionScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "transformer": ["diffusers", "Transformer2DModel"],
            "vqvae": ["diffusers", "VQModel"],
        },
        "generation_config.json": {"guidance_scale": 1.0},
        "learned_classifier_free_sampling_embeddings/config.json": {
            "_class_name": "LearnedClassifierFreeSamplingEmbeddings",
            "learnable": True,
            "hidden_size": text.width,
            "length": text.positions,
        },
        "scheduler/scheduler_config.json": {
            "_class_name": "VQDiffusionScheduler",
            "num_vec_classes": vq.num_codes + 1,
            "num_train_timesteps": denoiser.num_timesteps,
            "alpha_cum_start": denoiser.alpha_cum_start,
            "alpha_cum_end": denoiser.alpha_cum_end,
            "gamma_cum_start": denoiser.gamma_cum_start,
            "gamma_cum_end": denoiser.gamma_cum_end,
        },
        "text_encoder/config.json": {
            "_class_name": "CLIPTextModel",
            "architectures": ["CLIPTextModel"],
            "model_type": "clip_text_model",
            "vocab_size": text.vocab_size,
            "hidden_size": text.width,
            "intermediate_size": 4 * text.width,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.positions,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "projection_dim": text.width,
            "bos_token_id": text.vocab_size - 2,
            "eos_token_id": text.vocab_size - 1,
            "pad_token_id": text.vocab_size - 1,
        },
        "tokenizer/tokenizer_config.json": {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": text.positions,
            "bos_token": BOS,
            "eos_token": EOS,
            "pad_token": EOS,
            "unk_token": EOS,
            "add_prefix_space": False,
            "do_lower_case": True,
            "errors": "replace",
        },
        "tokenizer/special_tokens_map.json": {
            "bos_token": BOS,
            "eos_token": EOS,
            "pad_token": EOS,
            "unk_token": EOS,
        },
        "transformer/config.json": {
            "_class_name": "Transformer2DModel",
            "num_attention_heads": denoiser.heads,
            "attention_head_dim": denoiser.head_width,
            "num_layers": denoiser.layers,
            "dropout": 0.0,
            "norm_num_groups": 32,
            "cross_attention_dim": text.width,
            "attention_bias": True,
            "sample_size": side,
            "num_vector_embeds": vq.num_codes + 1,
            "activation_fn": "geglu-approximate",
            "num_embeds_ada_norm": denoiser.num_timesteps,
            "norm_type": "ada_norm",
            "norm_elementwise_affine": True,
            "in_channels": None,
        },
        "vqvae/config.json": {
            "_class_name": "VQModel",
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ["DownEncoderBlock2D"] * blocks,
            "up_block_types": ["UpDecoderBlock2D"] * blocks,
            "block_out_channels": list(vq.channels),
            "layers_per_block": vq.layers_per_block,
            "act_fn": "silu",
            "latent_channels": vq.code_width,
            "sample_size": config.data.resolution,
            "num_vq_embeddings": vq.num_codes,
            "norm_num_groups": vq.norm_groups,
            "vq_embed_dim": vq.code_width,
        },
    }


def write_tokenizer(folder: Path) -> None:
    """CLIP's vocabulary and merges, from the merges alone."""
    vocabulary = ClipTokenizer().vocabulary
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")))
    merges = MERGES.read_text(encoding="utf-8")
    (folder / "merges.txt").write_text(merges if merges.startswith("#version") else f"#version: 0.2\n{merges}")
