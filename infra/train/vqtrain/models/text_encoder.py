"""CLIP's text transformer, with Hugging Face's parameter names, over the rows of the vocabulary that captions use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TextConfig
from ..words.vectors import WIDTH

INIT_STD = 0.02
UNKNOWN_ROW = 0


class SelfAttention(nn.Module):
    """Causal multi-head attention over [B, L, width]; padding is attended to, as in the reference."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(config.width, config.width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        split = lambda rows: rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        query, key, value = (split(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x)
        return self.fc2(hidden * torch.sigmoid(1.702 * hidden))


class Layer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.self_attn, self.mlp = SelfAttention(config), Mlp(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class TextEncoder(nn.Module):
    """
    Ids [B, positions] -> unit-norm embeddings [B, positions, width]. Only the rows of `used_ids` exist; any other id
    has the zero row, as it will in the exported table. A row is a linear map of the piece's word vector plus a learned difference:
    so a word that no caption has begins near its relatives. Without `vectors` [rows, WIDTH] it is the difference alone.
    """

    def __init__(self, config: TextConfig, used_ids: list[int], vectors: Tensor | None = None) -> None:
        super().__init__()
        self.used_ids = sorted(used_ids)
        row_of_id = torch.full((config.vocab_size,), UNKNOWN_ROW)
        row_of_id[self.used_ids] = torch.arange(1, len(self.used_ids) + 1)
        self.register_buffer("row_of_id", row_of_id, persistent=False)
        self.token_embedding = nn.Embedding(len(self.used_ids) + 1, config.width, padding_idx=UNKNOWN_ROW)
        self.position_embedding = nn.Embedding(config.positions, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.final_layer_norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.token_embedding.weight, std=INIT_STD * 4)
        nn.init.normal_(self.position_embedding.weight, std=INIT_STD)
        with torch.no_grad():
            self.token_embedding.weight[UNKNOWN_ROW] = 0
        self.vectors: Tensor | None
        if vectors is None:
            self.vectors = None
        else:
            self.register_buffer("vectors", torch.cat([torch.zeros(1, WIDTH), vectors]), persistent=False)
            self.vector_map = nn.Linear(WIDTH, config.width, bias=False)
            nn.init.normal_(self.vector_map.weight, std=INIT_STD * 4)
            with torch.no_grad():
                self.token_embedding.weight[self.vectors.norm(dim=1) > 0] = 0

    def forward(self, ids: Tensor, vectors_alone: Tensor | None = None) -> Tensor:
        """`vectors_alone` [B]: samples whose words are known by their vectors only, so that the net learns to read these."""
        rows = self.row_of_id[ids]
        x = self.token_embedding(rows)
        if self.vectors is not None:
            vectors = self.vectors[rows]
            if vectors_alone is not None:
                x = x * ~(vectors_alone[:, None, None] & vectors.any(-1, keepdim=True))
            x = x + self.vector_map(vectors)
        x = x + self.position_embedding.weight
        for layer in self.layers:
            x = layer(x)
        x = self.final_layer_norm(x).float()
        return x / x.norm(dim=-1, keepdim=True)

    @torch.no_grad()
    def table(self) -> Tensor:
        """The rows of `used_ids`, [rows, width]."""
        rows = self.token_embedding.weight[1:]
        return rows if self.vectors is None else rows + self.vector_map(self.vectors[1:])

    def exported(self, vocab_size: int, others: dict[int, Tensor] | None = None) -> dict[str, Tensor]:
        """
        The state under Hugging Face's names, with the whole token table. `others` are word vectors by ids that were never trained;
        rows of neither are zero.
        """
        state = {f"text_model.encoder.{k}": v for k, v in self.state_dict().items() if k.startswith("layers.")}
        table = torch.zeros(vocab_size, self.token_embedding.embedding_dim)
        if others:
            table[list(others)] = self.vector_map(torch.stack(list(others.values()))).detach()
        table[self.used_ids] = self.table()
        state["text_model.embeddings.token_embedding.weight"] = table
        state["text_model.embeddings.position_embedding.weight"] = self.position_embedding.weight
        state["text_model.final_layer_norm.weight"] = self.final_layer_norm.weight
        state["text_model.final_layer_norm.bias"] = self.final_layer_norm.bias
        return state
