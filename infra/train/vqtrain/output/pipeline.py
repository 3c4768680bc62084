"""A checkpoint folder in the diffusers layout, loaded back into this recipe's modules: text to images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..config import Config, TextConfig, TransformerConfig, VQConfig
from ..models.diffusion import MaskAndReplace
from ..models.text_encoder import TextEncoder
from ..models.transformer import Transformer
from ..models.vqvae import VQModel
from ..words.tokenizer import ClipTokenizer
from . import tensorfile
from .sample import sample

TOKEN_TABLE = "text_model.embeddings.token_embedding.weight"
POSITION_TABLE = "text_model.embeddings.position_embedding.weight"


class Pipeline:
    """What `export` wrote (or any checkpoint of the same architecture), ready to sample in float32 or bfloat16."""

    def __init__(self, folder: Path) -> None:
        read = lambda part: json.loads((folder / part).read_text())  # noqa: E731
        vq, text, denoiser = (
            read("vqvae/config.json"),
            read("text_encoder/config.json"),
            read("transformer/config.json"),
        )
        scheduler = read("scheduler/scheduler_config.json")
        config = Config(
            vq=VQConfig(
                channels=tuple(vq["block_out_channels"]),
                layers_per_block=vq["layers_per_block"],
                norm_groups=vq["norm_num_groups"],
                num_codes=vq["num_vq_embeddings"],
                code_width=vq["vq_embed_dim"],
            ),
            text=TextConfig(
                vocab_size=text["vocab_size"],
                width=text["hidden_size"],
                layers=text["num_hidden_layers"],
                heads=text["num_attention_heads"],
                positions=text["max_position_embeddings"],
            ),
            transformer=replace(
                TransformerConfig(),
                layers=denoiser["num_layers"],
                heads=denoiser["num_attention_heads"],
                head_width=denoiser["attention_head_dim"],
                num_timesteps=scheduler["num_train_timesteps"],
                **{f"{name}_cum_{end}": scheduler[f"{name}_cum_{end}"] for name in ("alpha", "gamma")
                   for end in ("start", "end")},
            ),
        )  # fmt: skip
        self.config, self.side = config, denoiser["sample_size"]
        self.tokenizer = ClipTokenizer()
        self.process = MaskAndReplace(config.transformer, config.vq.num_codes)
        self.vq = VQModel(config.vq).eval()
        self.vq.load_state_dict(tensorfile.load(folder / "vqvae/diffusion_pytorch_model.safetensors"))
        self.transformer = Transformer(config.transformer, config.text, config.vq.num_codes, self.side).eval()
        self.transformer.load_state_dict(tensorfile.load(folder / "transformer/diffusion_pytorch_model.safetensors"))
        self.text = load_text_encoder(config.text, folder / "text_encoder/model.safetensors")
        rows = tensorfile.load(
            folder / "learned_classifier_free_sampling_embeddings/diffusion_pytorch_model.safetensors"
        )
        self.empty_text = rows["embeddings"]

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Tensor:
        """Unit-norm text embeddings [B, positions, width]."""
        length = self.config.text.positions
        return self.text(torch.tensor([self.tokenizer.encode(prompt, length) for prompt in prompts]))

    @torch.no_grad()
    def log_probabilities(self, latents: Tensor, text: Tensor, timesteps: Tensor) -> Tensor:
        """log p(x_0) [B, N, K], in float32 from a bfloat16 network."""
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.transformer(latents, text, timesteps)
        return logits.float().log_softmax(-1)

    def generate(self, prompts: list[str], *, steps: int, guidance_scale: float, seed: int = 0) -> Tensor:
        """Images [B, 3, H, W] in -1 .. 1, from one generator for the whole batch."""
        return self.decode(self.latents(prompts, steps=steps, guidance_scale=guidance_scale, seed=seed))

    def latents(self, prompts: list[str], *, steps: int, guidance_scale: float, seed: int = 0) -> Tensor:
        """Classes [B, N]."""
        text = self.encode(prompts)
        empty = self.empty_text.expand_as(text)

        def predict(latents: Tensor, timestep: int, with_text: bool) -> Tensor:
            return self.log_probabilities(latents, text if with_text else empty, torch.full((len(latents),), timestep))

        return sample(
            predict,
            shape=(len(prompts), self.side**2),
            mask=self.process.mask,
            timesteps=self.process.steps,
            most_masked=float(self.process.cum_gamma[self.process.steps - 1]),
            steps=steps,
            guidance_scale=guidance_scale,
            generator=torch.Generator().manual_seed(seed),
        )

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        return self.vq.decode(latents.unflatten(1, (self.side, self.side))).clamp(-1, 1)


def load_text_encoder(config: TextConfig, path: Path) -> TextEncoder:
    """A text encoder over the rows of the stored token table that are not zero."""
    stored = tensorfile.load(path)
    table = stored.pop(TOKEN_TABLE)
    used = table.abs().sum(1).nonzero().flatten().tolist()
    encoder = TextEncoder(config, used)
    state = {
        name.removeprefix("text_model.").removeprefix("encoder."): value
        for name, value in stored.items()
        if name != POSITION_TABLE and not name.endswith("position_ids")
    }
    state["position_embedding.weight"] = stored[POSITION_TABLE]
    state["token_embedding.weight"] = torch.cat([torch.zeros(1, config.width), table[used]])
    encoder.load_state_dict(state)
    return encoder.eval()
