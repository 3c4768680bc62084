"""Where the measured images come from: this recipe's own sampler, or a running service with the checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .pipeline import Pipeline
from .service import Service

STEPS, GUIDANCE_SCALE = 16, 1.0
BATCH = 12


class ImageSource:
    """Prompts to images. Steps and guidance that are None are the service's defaults, or STEPS and GUIDANCE_SCALE."""

    def __init__(
        self, folder: Path, *, steps: int | None = None, guidance_scale: float | None = None, seed: int = 0,
        api: str | None = None,
    ) -> None:  # fmt: skip
        self.pipeline, self.service = Pipeline(folder), Service(api) if api else None
        self.steps, self.guidance_scale, self.seed = steps, guidance_scale, seed

    def draw(self, prompts: list[str]) -> Tensor:
        """[B, 3, H, W] in -1 .. 1; part n of the prompts has the seed `seed` + n."""
        size = Service.BATCH if self.service else BATCH
        parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        return torch.cat([self._part(part, self.seed + number) for number, part in enumerate(parts)])

    def _part(self, prompts: list[str], seed: int) -> Tensor:
        if self.service:
            return self.service.generate(prompts, steps=self.steps, guidance_scale=self.guidance_scale, seed=seed)
        steps, scale = self.steps or STEPS, self.guidance_scale or GUIDANCE_SCALE
        return self.pipeline.generate(prompts, steps=steps, guidance_scale=scale, seed=seed)

    def settings(self) -> dict[str, object]:
        default = "the service's default" if self.service else None
        return {
            "steps": self.steps or default or STEPS,
            "guidance_scale": self.guidance_scale or default or GUIDANCE_SCALE,
            "seed": self.seed,
        }
