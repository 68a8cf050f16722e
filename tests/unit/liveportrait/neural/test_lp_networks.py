"""Every network gives the official code's numbers, and a wrong constant in it would not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import weights
from torch.nn import functional as F  # noqa: N812
from visema_liveportrait.model import blocks, grids, motion, spade, warping

OUTPUTS = {
    "appearance_feature_extractor": ["F.out"],
    "motion_extractor": [f"M.out.{key}" for key in ("pitch", "yaw", "roll", "t", "exp", "scale", "kp")],
    "warping_module": [f"W.out.{key}" for key in ("occlusion_map", "deformation", "out")],
    "spade_generator": ["G.out"],
    "stitching": ["stitching.out"],
    "eye": ["eye.out"],
    "lip": ["lip.out"],
}
PERCEPTRONS = ("stitching", "eye", "lip")
PREFIX = {
    "appearance_feature_extractor": "F",
    "motion_extractor": "M",
    "warping_module": "W",
    "spade_generator": "G",
}
pytestmark = pytest.mark.neural


def compare(goldens: dict[str, Any], name: str, output: Any) -> None:
    tensors = list(output.values()) if isinstance(output, dict) else [output]
    for key, tensor in zip(OUTPUTS[name], tensors, strict=True):
        weights.assert_golden(goldens, key, tensor.numpy())


@pytest.mark.parametrize("name", list(OUTPUTS))
def test_state_dict_has_exactly_the_official_names_and_shapes(name: str, network: Any) -> None:
    state = {key: tuple(tensor.shape) for key, tensor in network(name).state_dict().items()}
    assert state == weights.manifest_shapes(name)


@pytest.mark.parametrize("name", list(OUTPUTS))
def test_network_equals_its_golden_layer_by_layer(
    name: str, network: Any, nets_golden: Any, network_inputs: Any
) -> None:
    net = network(name)
    prefix = f"{PREFIX.get(name, name)}.mid."
    paths = {key.removeprefix(prefix).split("@")[0] for key in nets_golden if key.startswith(prefix)}
    seen: dict[str, Any] = {}
    modules = dict(net.named_modules())
    hooks = [
        modules[path].register_forward_hook(lambda _m, _i, out, path=path: seen.__setitem__(path, out.numpy()))
        for path in paths
    ]
    with torch.inference_mode():
        output = net(*network_inputs[name])
    for hook in hooks:
        hook.remove()
    for path in paths:
        weights.assert_golden(nets_golden, prefix + path, seen[path])
    compare(nets_golden, name, output)


def test_warping_to_the_source_keypoints_themselves_equals_its_golden(
    network: Any, nets_golden: Any, network_inputs: Any
) -> None:
    volume, _, kp_source = network_inputs["warping_module"]
    with torch.inference_mode():
        output = network("warping_module")(volume, kp_source, kp_source)
    for key in ("deformation", "out"):
        weights.assert_golden(nets_golden, f"W.identity.{key}", output[key].numpy())


def _wrong_batch_norm(patch: Any) -> None:
    right = F.batch_norm
    patch.setattr(F, "batch_norm", lambda *args: right(*args[:-1], 1e-3))


def _wrong_gelu(patch: Any) -> None:
    right = F.gelu
    patch.setattr(motion.F, "gelu", lambda x: right(x, approximate="tanh"))


def _aligned_corners(patch: Any) -> None:
    sample = F.grid_sample
    patch.setattr(grids.F, "grid_sample", lambda *args, **kw: sample(*args, **(kw | {"align_corners": True})))


def _pooled_by_maximum(patch: Any) -> None:
    patch.setattr(blocks.F, "avg_pool2d", F.max_pool2d)


def _leaky_slope(patch: Any) -> None:
    patch.setattr(torch.nn.ReLU, "forward", lambda _self, x: F.leaky_relu(x, 0.01))


def _bare_layers(patch: Any) -> None:
    patch.setattr(torch.nn.ReLU, "forward", lambda _self, x: x)


def _smooth_steps(patch: Any) -> None:
    patch.setattr(torch.nn.ReLU, "forward", lambda _self, x: F.gelu(x))


MISTAKES = {
    "batch norm eps 1e-3": ("appearance_feature_extractor", _wrong_batch_norm),
    "max instead of average pooling": ("appearance_feature_extractor", _pooled_by_maximum),
    "tanh GELU": ("motion_extractor", _wrong_gelu),
    "response norm eps 1e-2": ("motion_extractor", lambda patch: patch.setattr(motion, "NORM_EPS", 1e-2)),
    "align_corners=True": ("warping_module", _aligned_corners),
    "heat map variance 0.02": ("warping_module", lambda patch: patch.setattr(grids, "HEAT_MAP_VARIANCE", 0.02)),
    "plain ReLU in third": ("warping_module", None),
    "instance norm eps 1e-3": ("spade_generator", lambda patch: patch.setattr(spade, "NORM_EPS", 1e-3)),
    "decoder slope 0.01": ("spade_generator", lambda patch: patch.setattr(spade, "NEGATIVE_SLOPE", 0.01)),
    **{
        f"{mistake} in {name}": (name, plant)
        for name in PERCEPTRONS
        for mistake, plant in {"slope 0.01": _leaky_slope, "no ReLU": _bare_layers, "GELU": _smooth_steps}.items()
    },
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_wrong_constant_is_caught_by_the_golden(
    mistake: str, network: Any, nets_golden: Any, network_inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, plant = MISTAKES[mistake]
    net = network(name)
    if plant is None:
        assert net.third.negative_slope == warping.THIRD_NEGATIVE_SLOPE
        monkeypatch.setattr(net.third, "negative_slope", 0.0)
    else:
        plant(monkeypatch)
    with torch.inference_mode():
        output = net(*network_inputs[name])
    with pytest.raises(AssertionError, match="error up to"):
        compare(nets_golden, name, output)


@pytest.mark.parametrize("name", PERCEPTRONS)
def test_a_perceptron_with_other_weights_is_what_its_layers_say(
    name: str, make_network: Any, network_inputs: Any
) -> None:
    net, (x,) = make_network(name, "another"), network_inputs[name]
    state = {key: tensor.double().numpy() for key, tensor in net.state_dict().items()}
    layers = sorted({int(key.split(".")[1]) for key in state})
    expected = x.double().numpy()
    for layer in layers:
        expected = expected @ state[f"mlp.{layer}.weight"].T + state[f"mlp.{layer}.bias"]
        if layer != layers[-1]:
            expected = np.maximum(expected, 0)
    with torch.inference_mode():
        output = net(x).numpy()
    weights.assert_golden({"output": expected.astype(np.float32)}, "output", output)
