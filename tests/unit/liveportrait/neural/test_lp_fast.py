"""Each rewrite of the per-frame networks gives the reference's numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import weights
from torch.nn import functional as F  # noqa: N812
from visema_kit.torch_compile import NetworkCompiler
from visema_liveportrait.model.fast import FrameNetwork, optimised
from visema_liveportrait.model.fast.phases import interleave_phases, phase_kernels, row_kernels
from visema_liveportrait.model.fast.warp import interpolation_matrices, separable_heat_maps
from visema_liveportrait.model.grids import coordinate_grid, gaussian_heat_maps, sample_volume

MIN_PSNR_DB = 45.0
pytestmark = pytest.mark.neural


@pytest.fixture(scope="module")
def fast(network: Any) -> FrameNetwork:
    return optimised(network("warping_module"), network("spade_generator"), dtype=torch.float32, device="cpu")


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("factor", [2, 4])
def test_convolution_after_upsampling_equals_the_phases_computed_before_it(factor: int) -> None:
    generator = torch.Generator().manual_seed(factor)
    x = torch.randn(2, 5, 6, 7, generator=generator)
    weight = torch.randn(3, 5, 3, 3, generator=generator)
    expected = F.conv2d(F.interpolate(x, scale_factor=factor, mode="nearest"), weight, padding=1)
    windows = F.conv2d(x, phase_kernels(weight, factor), padding=1)
    target = torch.full_like(expected, torch.nan)
    interleave_phases(windows, target, factor, distinct_rows=False)
    torch.testing.assert_close(target, expected, rtol=1e-5, atol=1e-5)


def test_volume_convolution_after_upsampling_equals_the_phases_computed_before_it() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, 4, 3, 5, 6, generator=generator)
    weight = torch.randn(2, 4, 3, 3, 3, generator=generator)
    expected = F.conv3d(F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest"), weight, padding=1)
    windows = F.conv3d(x, phase_kernels(weight, 2), padding=1)  # (1, 8, 3, 6, 7)
    for depth in range(3):
        target = torch.empty(1, 2, 10, 12)
        interleave_phases(windows[:, :, depth], target, 2, distinct_rows=False)
        torch.testing.assert_close(target, expected[:, :, depth], rtol=1e-5, atol=1e-5)


def test_second_convolution_skips_the_rows_that_are_copies() -> None:
    """Two convolutions after repeating four times, as in the last block: rows that are equal are never made."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(1, 3, 5, 4, generator=generator)
    first = torch.randn(6, 3, 3, 3, generator=generator)
    second = torch.randn(2, 6, 3, 3, generator=generator)
    hidden = F.relu(F.conv2d(F.interpolate(x, scale_factor=4, mode="nearest"), first, padding=1))
    expected = F.conv2d(hidden, second, padding=1)

    rows = torch.zeros(1, 6, 3 * 5 + 2, 16)
    interleave_phases(F.relu(F.conv2d(x, phase_kernels(first, 4), padding=1)), rows[:, :, 1:-1], 4, distinct_rows=True)
    for row, (offset, kernel) in enumerate(row_kernels(second)):
        count = 3 * 4 + kernel.shape[2]
        got = F.conv2d(rows[:, :, offset + 1 : offset + 1 + count], kernel, stride=(3, 1), padding=(0, 1))
        torch.testing.assert_close(got, expected[:, :, row::4], rtol=1e-4, atol=1e-4)


def test_constant_translations_sample_like_grids() -> None:
    generator = torch.Generator().manual_seed(5)
    volume = torch.randn(1, 2, 4, 6, 5, generator=generator)
    moves = torch.rand(1, 3, 3, generator=generator) - 0.5
    grid = coordinate_grid(4, 6, 5, like=volume) + moves[0, :, None, None, None, :]
    expected = sample_volume(volume.expand(3, -1, -1, -1, -1), grid)
    across, down, inward = (interpolation_matrices(moves[:, :, axis], size)[0] for axis, size in enumerate((5, 6, 4)))
    got = torch.einsum("cdhw,kvw,kuh,ked->kceuv", volume[0], across, down, inward)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_heat_maps_are_products_over_the_axes() -> None:
    keypoints = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(6)) - 0.5
    expected = gaussian_heat_maps(keypoints, coordinate_grid(4, 6, 5, like=keypoints))
    torch.testing.assert_close(separable_heat_maps(keypoints, 4, 6, 5), expected)


def test_fast_warp_equals_the_golden_for_each_frame_of_a_batch(
    fast: Any, nets_golden: Any, network_inputs: Any
) -> None:
    volume, kp_driving, kp_source = network_inputs["warping_module"]
    source = fast.prepare(volume, kp_source)
    output = fast.warp(source, torch.cat((kp_driving, kp_source)))
    for key in ("occlusion_map", "deformation", "out"):
        weights.assert_golden(nets_golden, f"W.out.{key}", output[key][:1].numpy())
    for key in ("deformation", "out"):
        weights.assert_golden(nets_golden, f"W.identity.{key}", output[key][1:].numpy())


def test_fast_decoder_equals_the_golden(fast: Any, nets_golden: Any, network_inputs: Any) -> None:
    weights.assert_golden(nets_golden, "G.out", fast.decoder(network_inputs["spade_generator"][0]).numpy())


def test_the_rewrites_hold_for_other_weights_too(make_network: Any, network_inputs: Any) -> None:
    warping, decoder = (make_network(name, "another") for name in ("warping_module", "spade_generator"))
    fast = optimised(warping, decoder, dtype=torch.float32, device="cpu")
    volume, kp_driving, kp_source = network_inputs["warping_module"]
    expected = warping(volume, kp_driving, kp_source)
    got = fast.warp(fast.prepare(volume, kp_source), kp_driving)
    for key in ("occlusion_map", "deformation", "out"):
        weights.assert_golden({key: expected[key].numpy()}, key, got[key].numpy())
    feature = network_inputs["spade_generator"][0][:, :, :16, :16].contiguous()  # the decoder takes any size
    weights.assert_golden({"picture": decoder(feature).numpy()}, "picture", fast.decoder(feature).numpy())


@dataclass(frozen=True)
class Frame:
    """Inputs of one frame, and its picture in float32."""

    features: torch.Tensor
    x_s: torch.Tensor
    x_d: torch.Tensor
    picture: torch.Tensor

    def psnr_db(self, picture: torch.Tensor) -> float:
        return float(-10 * torch.log10((picture - self.picture).square().mean()))


@pytest.fixture(scope="module")
def frame(fast: Any, network: Any, chain_golden: Any) -> Frame:
    golden = chain_golden
    with torch.inference_mode():
        picture = torch.from_numpy(golden["src.img_crop_256_u8"].astype(np.float32) / 255).permute(2, 0, 1)[None]
        x_s, x_d = torch.from_numpy(golden["src.x_s"]), torch.from_numpy(golden["proc.x_d"][1:2])
        features = network("appearance_feature_extractor")(picture)
        return Frame(features, x_s, x_d, fast(fast.prepare(features, x_s), x_d))


@pytest.fixture(scope="module")
def reduced(network: Any) -> FrameNetwork:
    return optimised(network("warping_module"), network("spade_generator"), dtype=torch.bfloat16, device="cpu")


def test_frames_in_reduced_precision_stay_above_45_db(reduced: Any, frame: Frame, chain_golden: Any) -> None:
    weights.assert_golden(chain_golden, "proc.out1", frame.picture.numpy(), atol=1e-3)
    got = reduced(reduced.prepare(frame.features, frame.x_s), frame.x_d)
    assert frame.psnr_db(got) >= MIN_PSNR_DB


@pytest.fixture
def no_compiled_code() -> Any:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("no_compiled_code")
def test_compiled_frames_stay_above_45_db(reduced: Any, frame: Frame) -> None:
    compiler = NetworkCompiler("liveportrait", torch.device("cpu"), backend="eager")  # traced, no code generated
    draw = compiler.compiled(reduced)
    with compiler.warming():
        picture = draw(reduced.prepare(frame.features, frame.x_s), frame.x_d)
    assert compiler.active
    assert frame.psnr_db(picture) >= MIN_PSNR_DB


@pytest.mark.usefixtures("no_compiled_code")
def test_the_decoder_keeps_its_numbers_when_the_compiler_takes_writes_in_place_apart(
    fast: Any, network_inputs: Any
) -> None:
    compiler = NetworkCompiler("liveportrait", torch.device("cpu"), backend="aot_eager")  # all but the code, in seconds
    decode = compiler.compiled(fast.decoder)
    feature = network_inputs["spade_generator"][0][:, :, :16, :16].contiguous()  # the decoder takes any size
    with compiler.warming():
        picture = decode(feature)
    assert compiler.active
    weights.assert_golden({"picture": fast.decoder(feature).numpy()}, "picture", picture.numpy())
