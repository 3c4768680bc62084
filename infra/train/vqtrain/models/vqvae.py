"""The VQ-VAE, with the parameter names of diffusers' VQModel (docs: VQGAN, arXiv 2012.09841)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..config import VQConfig

NORM_EPS = 1e-6


class ResnetBlock(nn.Module):
    """[B, C, H, W] -> [B, D, H, W]; a 1x1 convolution is the shortcut where C and D differ."""

    def __init__(self, width_in: int, width_out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width_in, NORM_EPS)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, width_out, NORM_EPS)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        if width_in != width_out:
            self.conv_shortcut = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return hidden + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Attention(nn.Module):
    """One head of full width over the positions of [B, C, H, W], with a residual."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, NORM_EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        rows = self.group_norm(x).flatten(2).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(self.to_q(rows), self.to_k(rows), self.to_v(rows))
        return x + self.to_out[0](mixed).transpose(1, 2).reshape(x.shape)


class MidBlock(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(width, width, groups) for _ in range(2))
        self.attentions = nn.ModuleList([Attention(width, groups)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Downsample(nn.Module):
    """Halves height and width: pads right and bottom by one, then strides by two."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles height and width: nearest neighbour, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0))


class Stage(nn.Module):
    """The resnets of one resolution and, unless it is the last, the change to the next."""

    def __init__(self, widths: tuple[int, int], resnets: int, groups: int, change: str | None) -> None:
        super().__init__()
        width_in, width = widths
        self.resnets = nn.ModuleList(ResnetBlock(width if i else width_in, width, groups) for i in range(resnets))
        if change == "down":
            self.downsamplers = nn.ModuleList([Downsample(width)])
        elif change == "up":
            self.upsamplers = nn.ModuleList([Upsample(width)])

    def forward(self, x: Tensor) -> Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        for change in (*getattr(self, "downsamplers", ()), *getattr(self, "upsamplers", ())):
            x = change(x)
        return x


class Encoder(nn.Module):
    """[B, 3, H, W] -> [B, code width, H / f, W / f]."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        widths, groups = config.channels, config.norm_groups
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            Stage((widths[max(i - 1, 0)], width), config.layers_per_block, groups,
                  "down" if i < len(widths) - 1 else None)
            for i, width in enumerate(widths)
        )  # fmt: skip
        self.mid_block = MidBlock(widths[-1], groups)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], NORM_EPS)
        self.conv_out = nn.Conv2d(widths[-1], config.code_width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """[B, code width, H / f, W / f] -> [B, 3, H, W]."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        widths, groups = config.channels[::-1], config.norm_groups
        self.conv_in = nn.Conv2d(config.code_width, widths[0], 3, padding=1)
        self.mid_block = MidBlock(widths[0], groups)
        self.up_blocks = nn.ModuleList(
            Stage((widths[max(i - 1, 0)], width), config.layers_per_block + 1, groups,
                  "up" if i < len(widths) - 1 else None)
            for i, width in enumerate(widths)
        )  # fmt: skip
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], NORM_EPS)
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Quantizer(nn.Module):
    """The codebook; row k of `embedding` is the latent of class k."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.num_codes, config.code_width)
        self.embedding.weight.requires_grad_(False)

    def nearest(self, rows: Tensor) -> Tensor:
        """[N, width] -> [N], the index of the nearest code in float32."""
        codes = self.embedding.weight
        distance = (codes**2).sum(1) - 2 * rows.float() @ codes.T
        return distance.argmin(1)


class VQModel(nn.Module):
    """Images are float, [B, 3, H, W] in -1 .. 1; tokens are int64, [B, H / f, W / f]."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv2d(config.code_width, config.code_width, 1)
        self.quantize = Quantizer(config)
        self.post_quant_conv = nn.Conv2d(config.code_width, config.code_width, 1)
        self.decoder = Decoder(config)

    def latents(self, images: Tensor) -> Tensor:
        """The encoder's output before quantization, [B, width, h, w]."""
        return self.quant_conv(self.encoder(images))

    def encode(self, images: Tensor) -> Tensor:
        z = self.latents(images)
        return self.quantize.nearest(z.permute(0, 2, 3, 1).flatten(0, 2)).reshape(z.shape[0], *z.shape[2:])

    def decode(self, tokens: Tensor) -> Tensor:
        return self.decode_latents(self.quantize.embedding(tokens).permute(0, 3, 1, 2))

    def decode_latents(self, z: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(z))
