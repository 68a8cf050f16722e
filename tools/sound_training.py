"""Train the network that hears kinds of sounds (`visema_wav2lip.sounds`) and write its weights.

    python tools/sound_training.py FOLDER [--steps 6000] [--out services/wav2lip/src/visema_wav2lip/sounds.npz]

FOLDER holds the corpora of `sound_corpora.py`. Forty sentences of the recorded speaker are held back and judged every
few hundred steps; how people are heard whom it never met says `bench/recordings.py`. Needs torch; ten minutes
on two cores.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
import torch
import torch.nn.functional as F  # noqa: N812 - torch's customary name
from scipy.signal import lfilter
from torch import nn
from visema_wav2lip import sounds
from visema_wav2lip.engines.protocol import SPEECH_RATE_HZ
from visema_wav2lip.sounds import Sound
from visema_wav2lip.spectrum import MEL_STEPS_PER_S, mel_power

Floats = npt.NDArray[np.float32]

WEIGHTS = Path(__file__).resolve().parents[1] / "services/wav2lip/src/visema_wav2lip/sounds.npz"
SHARES = {"russian": 0.36, "festival": 0.27, "flite": 0.15, "espeak": 0.22}  # of the crops
HELD_BACK = 40  # clips of the recorded corpus
PACES = ((1.0, 1.0), (0.80, 0.95), (1.05, 1.22))  # each clip as it is, higher and lower
CROP = 4 * MEL_STEPS_PER_S
BATCH = 32
BANDS, CHANNELS = 32, 64
WEIGHT = {Sound.LABIAL: 1.3, Sound.LIP_TEETH: 1.8}
UNKNOWN = -1
REPORT_EVERY = 250
_TINY = 1e-10


@dataclass(frozen=True, slots=True)
class Heard:
    """A clip as the network gets it: mel power (T, 32) and kinds of sounds (T,)."""

    power: Floats
    kinds: npt.NDArray[np.int64]


class Speech:
    """The corpora, and crops of them as they sound in rooms, through telephones and beside noise."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._clips = {name: self._load(folder / f"{name}.npz") for name in SHARES}
        recorded = self._clips["russian"]
        self.held = recorded[-HELD_BACK * len(PACES) :: len(PACES)]
        self._clips["russian"] = recorded[: -HELD_BACK * len(PACES)]

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Levels float32 (B, 32, T) and kinds int64 (B, T)."""
        crops = [self._crop() for _ in range(BATCH)]
        jitter = self._rng.normal(0, 0.23, BATCH)
        levels = [sounds.levels(self._spoilt(crop.power)) + shift for crop, shift in zip(crops, jitter, strict=True)]
        heard = torch.from_numpy(np.stack(levels).astype(np.float32)).transpose(1, 2).contiguous()
        return heard, torch.from_numpy(np.stack([crop.kinds for crop in crops]))

    def _load(self, path: Path) -> list[Heard]:
        stored = np.load(path)
        samples = np.split(stored["samples"], np.cumsum(stored["lengths"])[:-1])
        marks = np.split(stored["spans"], np.cumsum(stored["span_counts"])[:-1])
        return [
            self._heard((clip / 32768).astype(np.float32), spans, float(self._rng.uniform(*pace)))
            for clip, spans in zip(samples, marks, strict=True)
            for pace in PACES
        ]

    def _heard(self, samples: Floats, spans: Floats, pace: float) -> Heard:
        slowed = samples if pace == 1 else soxr.resample(samples, SPEECH_RATE_HZ, SPEECH_RATE_HZ * pace, quality="LQ")
        if self._rng.random() < 0.12:
            slowed = np.clip(slowed * 10 ** self._rng.uniform(0.5, 1.2), -1, 1)
        power = mel_power(slowed.astype(np.float32))
        kinds = np.full(len(power), Sound.SILENCE, np.int64)
        edges = np.ceil(spans[:, :2] * pace * MEL_STEPS_PER_S - 0.5).astype(int).clip(0)
        for (start, end), kind in zip(edges, spans[:, 2], strict=True):
            kinds[start:end] = int(kind)
        return Heard(power, kinds)

    def _crop(self) -> Heard:
        clips = self._clips[str(self._rng.choice(list(SHARES), p=list(SHARES.values())))]
        clip = clips[self._rng.integers(len(clips))]
        spare = len(clip.power) - CROP
        if spare < 0:
            lead = int(self._rng.integers(0, -spare + 1))
            around = (lead, -spare - lead)
            return Heard(np.pad(clip.power, (around, (0, 0))), np.pad(clip.kinds, around))
        start = int(self._rng.integers(0, spare + 1))
        return Heard(clip.power[start : start + CROP], clip.kinds[start : start + CROP])

    def _spoilt(self, power: npt.NDArray[Any]) -> Floats:
        """Another vocal tract, microphone, room, company or line, drawn afresh for every crop."""
        rng = self._rng
        if rng.random() < 0.1:
            return power
        power = power / (power.mean() + _TINY)
        if rng.random() < 0.7:
            power = self._other_tract(power)
        tilt = rng.uniform(-1.2, 1.2) * np.linspace(-0.5, 0.5, BANDS)
        power = power * 10 ** (self._colour(rng.uniform(0, 0.6)) + tilt)
        loud = float(np.percentile(power.sum(axis=1), 95)) + _TINY
        if rng.random() < 0.35:
            decay = 10 ** (-6 / MEL_STEPS_PER_S / rng.uniform(0.15, 0.7))
            power = power + lfilter([0, 1 - decay], [1, -decay], power, axis=0) * 12 * 10 ** rng.uniform(-2.2, -0.8)
        chance = rng.random()
        if chance < 0.30:
            power = power + loud * 10 ** -rng.uniform(0.6, 4) * self._noise(len(power))
        elif chance < 0.42:
            power = power + loud * 10 ** -rng.uniform(0.8, 2.3) * self._talk()
        elif chance < 0.54:
            power = power + loud * 10 ** -rng.uniform(0.8, 2.5) * self._music(len(power))
        return (power * self._line()).astype(np.float32)

    def _line(self) -> npt.NDArray[np.float64]:
        """What a telephone, a codec or a filter leaves of each band."""
        rng = self._rng
        left = np.ones(BANDS)
        if rng.random() < 0.3:
            left[rng.integers(22, 31) :] = 1e-7
        if rng.random() < 0.15:
            left[: rng.integers(1, 5)] *= 10 ** -rng.uniform(1, 3)
        if rng.random() < 0.25:
            band = int(rng.integers(0, 28))
            left[band : band + int(rng.integers(1, 4))] *= 1e-3
        return left

    def _other_tract(self, power: Floats) -> Floats:
        """Formants moved along the mel axis; the bands above a knee are squeezed to keep the range."""
        bands = np.arange(BANDS, dtype=float)
        knee, scale = self._rng.uniform(12, 26), self._rng.uniform(0.84, 1.18)
        above = knee * scale + (bands - knee) * (BANDS - 1 - knee * scale) / (BANDS - 1 - knee)
        taken = np.where(bands < knee, bands * scale, above).clip(0, BANDS - 1.001)
        lower = taken.astype(int)
        share = taken - lower
        log_power = np.log(power + _TINY)
        return np.asarray(np.exp(log_power[:, lower] * (1 - share) + log_power[:, lower + 1] * share), np.float32)

    def _colour(self, decades: float) -> npt.NDArray[np.float64]:
        """A smooth curve over the bands."""
        return np.interp(np.linspace(0, 5, BANDS), np.arange(6), self._rng.normal(0, decades, 6))

    def _noise(self, steps: int) -> npt.NDArray[np.float64]:
        colour = 10 ** self._colour(0.5)
        grain = self._rng.exponential(1, (steps, BANDS))
        return np.asarray((grain + np.roll(grain, 1, axis=0)) / 2 * colour / colour.sum())

    def _talk(self) -> npt.NDArray[np.float64]:
        """Two people behind, as loud as each other."""
        crops = [self._crop().power for _ in range(2)]
        return np.asarray(sum(crop / (float(np.percentile(crop.sum(axis=1), 95)) + _TINY) for crop in crops))

    def _music(self, steps: int) -> npt.NDArray[np.float64]:
        """Chords that are struck and fade."""
        chords, start = np.zeros((steps, BANDS)), 0
        while start < steps:
            length = int(self._rng.integers(15, 80))
            fading = 10 ** (-np.arange(length) / self._rng.uniform(20, 120))
            chord = fading[:, None] * self._rng.uniform(0, 1, BANDS) ** 6
            chords[start : start + length] = chord[: steps - start]
            start += length
        return np.asarray(chords / (chords.sum(axis=1).max() + _TINY))


class Block(nn.Module):
    """A residual step that looks `dilation` steps around."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(CHANNELS)
        self.second = nn.Conv1d(CHANNELS, CHANNELS, 1)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Args: series: (B, C, T)."""
        return series + self.second(F.relu(self.norm(self.first(series))))  # type: ignore[no-any-return]


class Network(nn.Module):
    """What `hear_sounds` computes in numpy."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Conv1d(BANDS, CHANNELS, 5, padding=2)
        self.blocks = nn.Sequential(*(Block(dilation) for dilation in sounds.DILATIONS))
        self.norm = nn.BatchNorm1d(CHANNELS)
        self.drop = nn.Dropout(0.15)
        self.output = nn.Conv1d(CHANNELS, len(Sound), 1)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """Scores (B, kinds, T). Args: levels: (B, 32, T)."""
        return self.output(self.drop(F.relu(self.norm(self.blocks(self.input(levels))))))  # type: ignore[no-any-return]


def export(network: Network, path: Path) -> None:
    """Weights as `hear_sounds` reads them: (taps, in, out) in half precision, normalisation folded in."""

    def folded(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return scale, norm.bias - norm.running_mean * scale

    scale, shift = folded(network.norm)
    weights = {
        "input.weight": network.input.weight.permute(2, 1, 0),
        "input.bias": network.input.bias,
        "output.scale": scale,
        "output.shift": shift,
        "output.weight": network.output.weight[:, :, 0].T,
        "output.bias": network.output.bias,
    }
    block: Any
    for i, block in enumerate(network.blocks):
        scale, shift = folded(block.norm)
        weights[f"{i}.first.weight"] = (block.first.weight * scale[:, None, None]).permute(2, 1, 0)
        weights[f"{i}.first.bias"] = shift
        weights[f"{i}.second.weight"] = block.second.weight[:, :, 0].T
        weights[f"{i}.second.bias"] = block.second.bias
    np.savez(path, **{name: weight.detach().numpy().astype(np.float16) for name, weight in weights.items()})  # type: ignore[arg-type,union-attr]


def report(network: Network, held: list[Heard]) -> str:
    """Share of steps heard right in the held-back clips, and recall / precision of each kind."""
    network.eval()
    with torch.no_grad():
        scores = [network(torch.from_numpy(sounds.levels(clip.power)).T[None])[0] for clip in held]
    network.train()
    heard = np.concatenate([score.argmax(dim=0).numpy() for score in scores])
    spoken = np.concatenate([clip.kinds for clip in held])
    right = heard == spoken
    kinds = [kind for kind in Sound if (spoken == kind).any() and (heard == kind).any()]
    each = (f"{kind.name} {right[spoken == kind].mean():.2f}/{right[heard == kind].mean():.2f}" for kind in kinds)
    return f"{right[spoken != UNKNOWN].mean():.3f}: " + ", ".join(each)


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    speech = Speech(arguments.folder, seed=1)
    network = Network()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, arguments.steps, pct_start=0.1)
    weight = torch.tensor([WEIGHT.get(kind, 1.0) for kind in Sound])
    started = time.monotonic()
    for step in range(1, arguments.steps + 1):
        levels, kinds = speech.batch()
        loss = F.cross_entropy(network(levels), kinds, weight=weight, ignore_index=UNKNOWN, label_smoothing=0.03)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % REPORT_EVERY == 0 or step == arguments.steps:
            export(network, arguments.out)
            print(f"{step} {time.monotonic() - started:.0f} s, {report(network, speech.held)}", flush=True)


if __name__ == "__main__":
    main()
