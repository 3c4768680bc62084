"""What makes a run resumable: checkpoints written atomically, a JSON-lines log, averaged weights, learning rates."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from pathlib import Path

import torch
from torch import nn


class Clock:
    """Counts working seconds; a pause (SIGSTOP) longer than a minute between two ticks is left out."""

    LONGEST_TICK = 60.0

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._last = time.monotonic()

    def tick(self) -> float:
        now = time.monotonic()
        self.seconds += min(now - self._last, self.LONGEST_TICK)
        self._last = now
        return self.seconds


class WeightAverage:
    """An exponential moving average of a model's parameters; its time constant grows up to `samples`."""

    def __init__(self, model: nn.Module, samples: int) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.samples = samples

    @torch.no_grad()
    def update(self, model: nn.Module, batch_size: int, seen: int) -> None:
        """`seen` is the number of samples so far: early on the average looks back over a tenth of them."""
        rate = batch_size / max(min(self.samples, seen * 0.1), batch_size)
        ours, theirs = self.model.state_dict(), model.state_dict()
        for name, value in ours.items():
            value.lerp_(theirs[name], rate)


def learning_rate_factor(seen: int, warmup: int, total: int, final: float) -> float:
    """Linear warm-up over the first samples, then a cosine from 1 to `final`."""
    if seen < warmup:
        return (seen + 1) / warmup
    progress = min((seen - warmup) / max(total - warmup, 1), 1.0)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def save_checkpoint(path: Path, state: dict) -> None:
    """Writes beside the old file and renames, so that a kill at any time leaves a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path) -> dict | None:
    """What `save_checkpoint` wrote, on the CPU; modules and optimizers take it to where they are."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


class Log:
    """Appends JSON lines to a file and shows them; `silent` does neither."""

    def __init__(self, path: Path, *, silent: bool = False) -> None:
        self.silent = silent
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def write(self, **row: object) -> None:
        if self.silent:
            return
        line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)
