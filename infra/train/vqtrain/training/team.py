"""Several processes of one thread each that train one model: on few CPU cores quicker than one process of several threads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import nn

LONGEST_WAIT = timedelta(hours=1)
"""For the others, while the first process measures and saves."""


class Team:
    """A process of `size`; the first, of rank 0, logs and saves. Gradients are averaged over all of them."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def begin_alike(self, model: nn.Module) -> None:
        """Gives all the weights of the first."""
        if self.size > 1:
            for value in model.state_dict().values():
                dist.broadcast(value, 0)

    def average_gradients(self, model: nn.Module, *, stop: bool) -> bool:
        """Whether the first process wants to stop; what the others want does not count."""
        if self.size == 1:
            return stop
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        wish = torch.tensor([float(stop and self.leads)])
        flat = torch.cat([g.flatten() for g in gradients] + [wish])
        dist.all_reduce(flat)
        at = 0
        for gradient in gradients:
            gradient.copy_((flat[at : at + gradient.numel()] / self.size).view_as(gradient))
            at += gradient.numel()
        return bool(flat[-1] > 0)


def in_processes(count: int, train: Callable[[Team], None]) -> None:
    """Calls `train` in `count` processes; where one fails, all end and the error is raised."""
    if count == 1:
        train(Team())
        return
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(
            _member, (count, os.path.join(folder, "meeting"), train, torch.get_num_threads()), nprocs=count
        )


def _member(rank: int, count: int, meeting: str, train: Callable[[Team], None], threads: int) -> None:
    torch.set_num_threads(threads)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count, timeout=LONGEST_WAIT)
    try:
        train(Team(rank, count))
    finally:
        dist.destroy_process_group()
