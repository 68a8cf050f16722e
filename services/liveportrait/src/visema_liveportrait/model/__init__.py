"""The networks of LivePortrait (arXiv 2407.03168), compatible with the official checkpoints tensor for tensor.

One file per network. Every class is constructible without arguments in the official configuration, and its
`state_dict` has exactly the published names and shapes, so `load_state_dict(..., strict=True)` is the proof that a
file fits. These modules say what the networks *are*; `visema_liveportrait.model.fast` rewrites the two that run for
every frame so that they run fast.

| letter in the paper | class | when it runs |
|---|---|---|
| F | `AppearanceFeatureExtractor` | once per portrait |
| M | `MotionExtractor` | once per portrait |
| W | `WarpingNetwork` | every frame |
| G | `SPADEDecoder` | every frame |
| S, R_eyes, R_lip | `StitchingNetwork`, `EyeRetargetingNetwork`, `LipRetargetingNetwork` | every frame, 0.1 ms |

Evaluation only: dropout and stochastic depth of the training code are left out, batch norms use their running
statistics. Importing this package imports torch.
"""

from visema_liveportrait.model.appearance import AppearanceFeatureExtractor
from visema_liveportrait.model.motion import MotionExtractor
from visema_liveportrait.model.retargeting import EyeRetargetingNetwork, LipRetargetingNetwork, StitchingNetwork
from visema_liveportrait.model.spade import SPADEDecoder
from visema_liveportrait.model.warping import WarpingNetwork

__all__ = [
    "AppearanceFeatureExtractor",
    "EyeRetargetingNetwork",
    "LipRetargetingNetwork",
    "MotionExtractor",
    "SPADEDecoder",
    "StitchingNetwork",
    "WarpingNetwork",
]
