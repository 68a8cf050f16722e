"""Every network equals the official one on the same synthetic weights; a wrong constant is noticed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from golden import weights
from visema_wav2lip import detection

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402  skipped without torch
from visema_wav2lip.model import s3fd  # noqa: E402

pytestmark = pytest.mark.neural

STATE_ELEMENTS = {"wav2lip": 36_320_837, "syncnet": 16_449_183, "s3fd": 22_459_110}


def generator_inputs(goldens, batch: int):
    pictures = goldens[f"datagen.{batch}.img_u8"].astype(np.float32).transpose(0, 3, 1, 2) / 255
    first = 0 if batch == 0 else 4
    return torch.from_numpy(goldens["datagen.mels"][first : first + len(pictures), None]), torch.from_numpy(pictures)


@pytest.mark.parametrize("network", STATE_ELEMENTS)
def test_state_dict_has_exactly_the_official_names_shapes_and_size(make_network, network):
    state = make_network(network, salt="another").state_dict()
    assert {name: tuple(values.shape) for name, values in state.items()} == weights.manifest_shapes(network)
    assert sum(values.numel() for values in state.values()) == STATE_ELEMENTS[network]


@pytest.mark.parametrize("batch", [0, 1])
def test_generator_equals_the_golden(goldens, generator, batch):
    with torch.inference_mode():
        picture = generator(*generator_inputs(goldens, batch))
    weights.assert_golden(goldens, f"gen.{batch}.out", picture.numpy())


def test_generator_equals_the_goldens_inside(goldens, generator):
    mels, pictures = generator_inputs(goldens, 0)
    with torch.inference_mode():
        features = generator.encode_face(pictures)
        embedding = generator.encode_audio(mels)
        inside = {"gen.0.mid.audio_encoder": embedding}
        inside |= {f"gen.0.mid.face_encoder_blocks.{i}": features[i] for i in (0, 3, 6)}
        x = embedding
        for i, block in enumerate(generator.face_decoder_blocks):
            x = block(x)
            inside[f"gen.0.mid.face_decoder_blocks.{i}"] = x
            x = torch.cat((x, features[6 - i]), dim=1)
    for key, values in inside.items():
        if key in goldens or f"{key}@sub" in goldens:
            weights.assert_golden(goldens, key, values.numpy())


def test_clips_are_folded_into_the_batch_frame_by_frame(goldens, generator):
    mels, pictures = generator_inputs(goldens, 0)
    with torch.inference_mode():
        flat = generator(mels, pictures)
        clip = generator(mels.unflatten(0, (2, 2)), pictures.unflatten(0, (2, 2)).transpose(1, 2))
    assert clip.shape == (2, 3, 2, 96, 96)
    torch.testing.assert_close(clip.transpose(1, 2).flatten(0, 1), flat, rtol=1e-4, atol=1e-5)


def test_syncnet_equals_the_golden(goldens, make_network):
    with torch.inference_mode():
        audio, face = make_network("syncnet")(
            torch.from_numpy(goldens["sync.mels"]), torch.from_numpy(goldens["sync.faces"])
        )
    weights.assert_golden(goldens, "sync.audio_emb", audio.numpy())
    weights.assert_golden(goldens, "sync.face_emb", face.numpy())


@pytest.fixture(scope="module")
def detector(make_network):
    return make_network("s3fd")


def assert_detector_golden(goldens, detector):
    with torch.inference_mode():
        maps = detector(torch.from_numpy(detection.detector_input(goldens["s3fd.images_bgr_u8"])))
    for i, values in enumerate(maps):
        weights.assert_golden(goldens, f"s3fd.raw{i}", values.numpy())


def test_detector_equals_the_golden(goldens, detector):
    assert_detector_golden(goldens, detector)


DETECTOR_MISTAKES = {
    "leaky slope": lambda patch: patch.setattr(s3fd.functional, "relu", lambda x: functional.leaky_relu(x, 0.01)),
    "norm eps 1e-1": lambda patch: patch.setattr(s3fd, "NORM_EPS", 1e-1),
    "average pooling": lambda patch: patch.setattr(s3fd.functional, "max_pool2d", functional.avg_pool2d),
    "means in the order of B, G, R": lambda patch: patch.setattr(detection, "MEANS_RGB", detection.MEANS_RGB[::-1]),
}


@pytest.mark.parametrize("mistake", DETECTOR_MISTAKES)
def test_a_wrong_constant_fails_the_golden_of_the_detector(goldens, detector, monkeypatch, mistake):
    DETECTOR_MISTAKES[mistake](monkeypatch)
    with pytest.raises(AssertionError, match="error up to"):
        assert_detector_golden(goldens, detector)


def test_a_missing_background_channel_fails_the_golden_of_the_detector(goldens, detector):
    damaged = copy.deepcopy(detector)
    damaged.conv3_3_norm_mbox_conf.weight[1:3] = damaged.conv3_3_norm_mbox_conf.weight[:1]
    damaged.conv3_3_norm_mbox_conf.bias[1:3] = damaged.conv3_3_norm_mbox_conf.bias[:1]
    with pytest.raises(AssertionError, match="error up to"):
        assert_detector_golden(goldens, damaged)


def wrong_batch_norm_eps(network):
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3


def missing_residual(network):
    network.face_decoder_blocks[3][1].residual = False


def swapped_colours(network):
    network.output_block[1].weight.copy_(network.output_block[1].weight.flip(0))


@pytest.mark.parametrize("damage", [wrong_batch_norm_eps, missing_residual, swapped_colours])
def test_a_planted_mistake_fails_the_golden(goldens, generator, damage):
    damaged = copy.deepcopy(generator)
    damage(damaged)
    with torch.inference_mode():
        picture = damaged(*generator_inputs(goldens, 0))
    with pytest.raises(AssertionError):
        weights.assert_golden(goldens, "gen.0.out", picture.numpy())


def test_a_wrong_eps_fails_the_golden_of_syncnet(goldens, make_network):
    network = make_network("syncnet")
    wrong_batch_norm_eps(network)
    with torch.inference_mode():
        audio, _ = network(torch.from_numpy(goldens["sync.mels"]), torch.from_numpy(goldens["sync.faces"]))
    with pytest.raises(AssertionError):
        weights.assert_golden(goldens, "sync.audio_emb", audio.numpy())


def test_a_leaky_slope_fails_the_golden(goldens, generator, monkeypatch):
    from visema_wav2lip.model import blocks

    monkeypatch.setattr(blocks.functional, "relu_", lambda x: torch.nn.functional.leaky_relu_(x, 0.01))
    with torch.inference_mode():
        picture = generator(*generator_inputs(goldens, 0))
    with pytest.raises(AssertionError):
        weights.assert_golden(goldens, "gen.0.out", picture.numpy())
