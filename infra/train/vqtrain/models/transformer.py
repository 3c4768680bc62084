"""The denoiser: diffusers' Transformer2DModel for vectorized latents, with its parameter names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TextConfig, TransformerConfig

EMBED_STD = 0.02


class AdaLayerNorm(nn.Module):
    """LN(x) * (1 + scale) + shift, from linear(silu(emb[t])); no affine of its own."""

    def __init__(self, width: int, timesteps: int) -> None:
        super().__init__()
        self.emb, self.linear = nn.Embedding(timesteps, width), nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        scale, shift = self.linear(F.silu(self.emb(t)))[:, None].chunk(2, dim=-1)
        return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v on [B, heads, N, d]."""
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value)
    # Written out, compiled and in bfloat16 it is trained in half of the time of torch's fused one, whose backward pass is slow.
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return scores.float().softmax(-1).to(value.dtype) @ value


class Attention(nn.Module):
    """Multi-head attention of x [B, N, width] over context [B, M, context width]."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_k, self.to_v = nn.Linear(context_width, width), nn.Linear(context_width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        split = lambda rows: rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        mixed = attend(split(self.to_q(x)), split(self.to_k(context)), split(self.to_v(context)))
        return self.to_out[0](mixed.transpose(1, 2).flatten(2))


class ApproximateGelu(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width_in, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.proj(x)
        return hidden * torch.sigmoid(1.702 * hidden)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([ApproximateGelu(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))


class Block(nn.Module):
    def __init__(self, config: TransformerConfig, width: int, context_width: int) -> None:
        super().__init__()
        self.norm1 = AdaLayerNorm(width, config.num_timesteps)
        self.attn1 = Attention(width, width, config.heads)
        self.norm2 = AdaLayerNorm(width, config.num_timesteps)
        self.attn2 = Attention(width, context_width, config.heads)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, context: Tensor, t: Tensor) -> Tensor:
        normed = self.norm1(x, t)
        x = x + self.attn1(normed, normed)
        x = x + self.attn2(self.norm2(x, t), context)
        return x + self.ff(self.norm3(x))


class LatentEmbedding(nn.Module):
    """Class embedding plus one embedding per row and one per column of the latent grid."""

    def __init__(self, classes: int, side: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(classes, width)
        self.height_emb, self.width_emb = nn.Embedding(side, width), nn.Embedding(side, width)

    def forward(self, latents: Tensor, places: Tensor | None) -> Tensor:
        grid = (self.height_emb.weight[:, None] + self.width_emb.weight[None]).flatten(0, 1)
        return self.emb(latents) + (grid if places is None else grid[places])


class Transformer(nn.Module):
    """
    x_t [B, N] (classes 0 .. K, K is the mask), text [B, M, text width], t [B] -> logits of x_0 [B, N, K]. `places` [N] says
    which pixels of the grid these are, where they are not all.
    """

    def __init__(self, config: TransformerConfig, text: TextConfig, num_codes: int, side: int) -> None:
        super().__init__()
        width = config.heads * config.head_width
        self.latent_image_embedding = LatentEmbedding(num_codes + 1, side, width)
        self.transformer_blocks = nn.ModuleList(Block(config, width, text.width) for _ in range(config.layers))
        self.norm_out = nn.LayerNorm(width)
        self.out = nn.Linear(width, num_codes)
        self._initialise(config)

    def _initialise(self, config: TransformerConfig) -> None:
        residual = (2 * config.layers) ** -0.5
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=EMBED_STD)
        with torch.no_grad():
            for block in self.transformer_blocks:
                for norm in (block.norm1, block.norm2):
                    norm.linear.weight.mul_(0.1)
                block.attn2.to_k.weight.mul_(config.cross_gain)
                block.attn2.to_v.weight.mul_(config.cross_gain)
                for last in (block.attn1.to_out[0], block.attn2.to_out[0], block.ff.net[2]):
                    last.weight.mul_(residual)
            self.out.weight.mul_(0.1)

    def forward(self, latents: Tensor, text: Tensor, t: Tensor, places: Tensor | None = None) -> Tensor:
        x = self.latent_image_embedding(latents, places)
        for block in self.transformer_blocks:
            x = block(x, text, t)
        return self.out(self.norm_out(x))
