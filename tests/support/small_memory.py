"""A device with little memory, as far as a network can tell."""

from __future__ import annotations

from typing import Any

import torch


class SmallMemory(torch.nn.Module):
    """A stage of a network on a device on which only `frames` frames fit."""

    def __init__(self, stage: torch.nn.Module, frames: int) -> None:
        super().__init__()
        self.stage, self.frames = stage, frames

    def forward(self, x: torch.Tensor) -> Any:
        if len(x) > self.frames:
            raise torch.OutOfMemoryError("out of memory")
        return self.stage(x)
