"""Kinds of sounds heard from a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import scripts, voices
from visema_wav2lip import sounds
from visema_wav2lip.sounds import Sound, hear_sounds
from visema_wav2lip.spectrum import MEL_STEPS_PER_S, mel_power

TOOLS = Path(__file__).resolve().parents[3] / "tools"
VOWEL_S, PAUSE_S = 0.3, 0.15


def spoken(names: str) -> np.ndarray:
    parts = [voices.silence(PAUSE_S)]
    for name in names:
        parts += [voices.vowel(name, VOWEL_S), voices.silence(PAUSE_S)]
    return voices.join(*parts).astype(np.float32)


def middles(count: int) -> list[int]:
    return [round((PAUSE_S + VOWEL_S / 2 + i * (VOWEL_S + PAUSE_S)) * MEL_STEPS_PER_S) for i in range(count)]


def test_likelihoods_of_every_ten_milliseconds_sum_to_one() -> None:
    sound = spoken("aou")
    heard = hear_sounds(sound)
    assert heard.shape == (len(sound) // 160 + 1, len(Sound))
    assert heard.dtype == np.float32
    assert np.allclose(heard.sum(axis=1), 1, atol=1e-5)


def test_a_vowel_is_likelier_where_it_is_spoken_than_elsewhere() -> None:
    heard = hear_sounds(spoken("aueiaue"))[middles(7)]
    for kind, place in ((Sound.A, {0, 4}), (Sound.U, {1, 5}), (Sound.E, {2, 6}), (Sound.I, {3})):
        assert int(heard[:, kind].argmax()) in place, kind


@pytest.mark.parametrize("gain", [1e-3, 0.1, 1.9])
def test_how_loud_a_recording_is_does_not_matter(gain: float) -> None:
    sound = spoken("aoue")
    assert np.allclose(hear_sounds(gain * sound), hear_sounds(sound), atol=0.02)


def test_who_turns_away_is_heard_as_well_two_seconds_later() -> None:
    sound = spoken("aueiaueiaueiaueiauei")
    half = len(sound) // 2
    turned_away = hear_sounds(np.concatenate([sound[:half], 0.2 * sound[half:]]))
    at = middles(20)[14:]
    assert np.abs(turned_away[at] - hear_sounds(sound)[at]).max() < 0.2


@pytest.mark.parametrize("count", [1, 159, 160, 4000])
def test_digital_silence_of_any_length_is_silence(count: int) -> None:
    heard = hear_sounds(np.zeros(count, np.float32))
    assert len(heard) == count // 160 + 1
    assert np.isfinite(heard).all()


def test_a_pause_is_heard_as_silence() -> None:
    sound = voices.join(voices.vowel("a", 0.4), voices.silence(0.5), voices.vowel("a", 0.4)).astype(np.float32)
    assert hear_sounds(sound)[65, Sound.SILENCE] > 0.8


def test_a_mel_band_hears_its_own_tone() -> None:
    at = np.arange(16_000) / voices.RATE_HZ
    loudest = [
        int(mel_power(np.sin(2 * np.pi * hertz * at).astype(np.float32))[50].argmax())
        for hertz in range(200, 7400, 200)
    ]
    assert loudest == sorted(loudest)
    assert loudest[-1] - loudest[0] > 25


def test_numpy_computes_what_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="training needs torch")
    training = scripts.load(TOOLS / "sound_training.py")
    torch.manual_seed(4)
    network = training.Network()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    network.eval()
    training.export(network, tmp_path / "weights.npz")
    with np.load(tmp_path / "weights.npz") as stored:
        weights = {name: stored[name].astype(np.float32) for name in stored.files}
    monkeypatch.setattr(sounds, "_weights", lambda: weights)
    sound = spoken("aoue")
    with torch.no_grad():
        levels = torch.from_numpy(sounds.levels(mel_power(sound))).T[None]
        expected = network(levels)[0].softmax(dim=0).T.numpy()
    assert np.allclose(hear_sounds(sound), expected, atol=5e-3)
