"""The audio front end equals the published one, and every frame of any video gets its window."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from golden import weights
from hypothesis import given, settings
from hypothesis import strategies as st
from visema_kit.errors import AudioTooShort
from visema_wav2lip import chunks, mel

RATES = st.sampled_from([Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)]) | st.fractions(
    min_value=1, max_value=240, max_denominator=1001
)


@pytest.fixture(scope="module")
def speech(goldens):
    return (goldens["wav_i16"] / 32768).astype(np.float32)


def test_pre_emphasis_equals_the_golden(goldens, speech):
    weights.assert_golden(goldens, "preemphasis", mel.pre_emphasis(speech), atol_std=1e-6)


def test_magnitudes_equal_the_golden(goldens, speech):
    weights.assert_golden(goldens, "stft_abs", mel.magnitudes(mel.pre_emphasis(speech)), rtol=1e-4, atol_std=1e-5)


def test_mel_basis_equals_the_golden_and_librosa(goldens):
    librosa_filters = pytest.importorskip("librosa.filters")
    theirs = librosa_filters.mel(sr=16000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    np.testing.assert_allclose(mel.mel_basis(), goldens["mel_basis"], atol=1e-8)
    np.testing.assert_allclose(mel.mel_basis(), theirs, atol=1e-8)


def test_log_mel_equals_the_golden_in_every_column(goldens, speech):
    np.testing.assert_allclose(mel.log_mel(speech), goldens["mel"], atol=1e-4)


def test_zero_padding_instead_of_reflection_would_be_noticed(goldens, speech):
    edges = np.r_[0:3, -3:0]
    padded_with_zeros = goldens["mel_constantpad_first3_last3"]
    assert np.abs(mel.log_mel(speech)[:, edges] - padded_with_zeros).max() > 0.1


@pytest.mark.parametrize(
    ("constant", "wrong"),
    [
        ("PRE_EMPHASIS", 0.95),
        ("QUIETEST_AMPLITUDE", 1e-3),
        ("REFERENCE_DB", 19.0),
        ("HIGHEST_HZ", 8000.0),
        ("LOWEST_HZ", 0.0),
    ],
)
def test_a_wrong_constant_fails_the_golden(goldens, speech, monkeypatch, constant, wrong):
    mel.mel_basis.cache_clear()
    monkeypatch.setattr(mel, constant, wrong)
    try:
        assert np.abs(mel.log_mel(speech) - goldens["mel"]).max() > 1e-3
    finally:
        mel.mel_basis.cache_clear()


def test_column_counts_equal_the_goldens(goldens):
    for samples, columns in goldens["mel_lengths"]:
        assert mel.log_mel(np.zeros(samples, np.float32)).shape == (80, columns)


def test_silence_is_exactly_minus_four():
    assert (mel.log_mel(np.zeros(3200, np.float32)) == -4).all()


def test_no_samples_are_refused():
    with pytest.raises(AudioTooShort):
        mel.log_mel(np.zeros(0, np.float32))


@given(samples=st.integers(1, 5000))
@settings(max_examples=20, deadline=None)
def test_any_length_has_one_column_per_hop_and_one_more(samples):
    noise = np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)
    picture = mel.log_mel(noise)
    assert picture.shape == (80, 1 + samples // 200)
    assert np.isfinite(picture).all()


def test_official_window_starts_equal_the_goldens(goldens):
    keys = [key for key in goldens if key.startswith("chunk_start.")]
    assert len(keys) == 10
    for key in keys:
        columns, rate = key.removeprefix("chunk_start.L").split(".fps")
        np.testing.assert_array_equal(
            chunks.official_window_starts(int(columns), float(rate)), goldens[key], err_msg=key
        )


def test_windows_equal_the_official_ones_wherever_those_exist(goldens):
    windows = chunks.mel_windows(goldens["mel"], 0, int(goldens["n_chunks_25fps"]), Fraction(25))
    first, middle, last_but_one, _ = goldens["chunks_first_mid_last2"]
    np.testing.assert_array_equal(windows[0], first)
    np.testing.assert_array_equal(windows[60], middle)
    np.testing.assert_array_equal(windows[-2], last_but_one)


@pytest.mark.parametrize("rate", [24, 25, 30, 50])
def test_exact_starts_equal_the_official_ones_at_common_rates(goldens, rate):
    official = goldens[f"chunk_start.L401.fps{rate}"][:-1]  # the last one is aligned to the end instead
    assert [chunks.window_start(i, Fraction(rate)) for i in range(len(official))] == official.tolist()


def test_the_tail_that_the_original_drops_gets_windows_of_its_own():
    picture = np.zeros((80, 401), np.float32)  # 5 s; the original ends after frame 122 of 125
    windows = chunks.mel_windows(picture, 0, 125, Fraction(25))
    assert len(windows) == 125
    assert (windows[124, :, :4] == 0).all()  # columns 396 to 400 are speech
    assert (windows[124, :, 5:] == mel.SILENCE).all()


@given(rate=RATES, columns=st.integers(0, 60), first=st.integers(0, 400), count=st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_every_frame_at_any_rational_rate_gets_the_window_of_its_own_time(rate, columns, first, count):
    picture = np.tile(np.arange(columns, dtype=np.float32), (80, 1))
    windows = chunks.mel_windows(picture, first, count, rate)
    assert windows.shape == (count, 80, 16)
    for frame, window in enumerate(windows, start=first):
        start = frame * 80 * rate.denominator // rate.numerator
        expected = [column if column < columns else mel.SILENCE for column in range(start, start + 16)]
        assert window[0].tolist() == expected


@given(rate=RATES, cut=st.integers(0, 30))
@settings(max_examples=50, deadline=None)
def test_cutting_into_segments_changes_no_window(rate, cut):
    picture = np.random.default_rng(1).uniform(-4, 4, (80, 90)).astype(np.float32)
    whole = chunks.mel_windows(picture, 0, 30, rate)
    parts = [chunks.mel_windows(picture, 0, cut, rate), chunks.mel_windows(picture, cut, 30 - cut, rate)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(("first", "count", "rate"), [(-1, 1, 25), (0, -1, 25), (0, 1, 0)])
def test_impossible_frames_are_refused(first, count, rate):
    with pytest.raises(ValueError, match="no such frames"):
        chunks.mel_windows(np.zeros((80, 20), np.float32), first, count, Fraction(rate))


def test_fewer_columns_than_a_window_have_no_official_starts():
    with pytest.raises(ValueError, match="less than one window"):
        chunks.official_window_starts(15, 25)


def test_the_silence_gate_mutes_noise_between_words_and_keeps_speech(speech):
    noise = np.random.default_rng(3).normal(0, 1e-3, 32000).astype(np.float32)
    recording = np.concatenate((speech[:32000], noise, speech[32000:64000]))
    picture = mel.log_mel(recording)
    gated = mel.gate_silence(picture, below_peak_db=40)
    assert (gated[:, 180:300] == mel.SILENCE).all()  # inside the two seconds of noise
    changed = (gated != picture).any(axis=0)
    loud = picture.max(axis=0) > picture.max() - 1.0
    assert not (changed & loud).any()


def test_the_silence_gate_leaves_digital_silence_alone():
    silent = np.full((80, 30), mel.SILENCE, np.float32)
    np.testing.assert_array_equal(mel.gate_silence(silent, below_peak_db=40), silent)
