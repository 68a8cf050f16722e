"""The networks that run for every frame, rewritten to give the same numbers sooner.

`optimised` turns the loaded reference networks into one `FrameNetwork`. Each rewrite is exact up to rounding; the
tests compare it with the reference in float32, and bench/neural.py measures it.
"""

from visema_liveportrait.model.fast.network import FrameNetwork, optimised
from visema_liveportrait.model.fast.warp import SourceVolume

__all__ = ["FrameNetwork", "SourceVolume", "optimised"]
