"""Whether a recording is too quiet, clipped or noisy to be followed well: judged block by block, in constant memory."""

from __future__ import annotations

import numpy as np

from visema_media.audio import Samples

WARN_QUIET = "The recording is very quiet."
WARN_CLIPPED = "The recording is clipped: its loud parts are cut off."
WARN_NOISY = "The recording is noisy: speech hardly stands out."

_FRAMES_PER_S = 50
_FULL_SCALE = 0.999
_CLIPPED_SHARE = 2e-4  # of the samples lie between two others at full scale: peaks that just reach it have one
_LOWEST_DB = -100  # of full scale; digital silence
_SILENT_DB = -90.0  # loud parts below it hold no speech at all, which is not a fault of the recording
_QUIET_DB = -42.0
_NOISY_DB = (4.0, 17.0)  # between loud parts and pauses; a sound that varies less is no noisy speech but a hum
_LEAST_FRAMES = 25  # half a second
_LOUD, _PAUSE = 0.95, 0.05  # shares of the frames


class RecordingJudge:
    """Listens to float32 (channels, n) blocks of one rate."""

    def __init__(self, rate_hz: int) -> None:
        self._frame_samples = max(rate_hz // _FRAMES_PER_S, 1)
        self._rest = np.zeros(0, np.float32)  # of a frame
        self._levels = np.zeros(-_LOWEST_DB + 1, np.int64)  # frames by whole decibels below full scale
        self._samples = 0
        self._full = np.zeros(0, bool)  # whether the last samples reached full scale
        self._flat = 0  # samples between two others at full scale, as they are

    def add(self, block: Samples) -> None:
        """Listen on. Values are within full scale."""
        self._samples += block.shape[1]
        loudest = np.abs(block).max(axis=0, initial=0.0)  # (n,), over the channels
        full = np.concatenate([self._full, loudest >= _FULL_SCALE])
        self._flat += int(np.count_nonzero(full[2:] & full[1:-1] & full[:-2]))
        self._full = full[-2:]
        mixed = np.concatenate([self._rest, block.mean(axis=0, dtype=np.float32)])
        count = len(mixed) // self._frame_samples
        whole, self._rest = np.split(mixed, [count * self._frame_samples])
        power = np.square(whole.reshape(count, self._frame_samples)).mean(axis=1)
        below = np.clip(-10 * np.log10(power + 1e-12), 0, -_LOWEST_DB).astype(np.int64)
        self._levels += np.bincount(below, minlength=len(self._levels))

    def warnings(self) -> tuple[str, ...]:
        """What a person should know about the recording."""
        notes = []
        loud, pause = self._level_db(_LOUD), self._level_db(_PAUSE)
        if self._levels.sum() >= _LEAST_FRAMES and loud > _SILENT_DB:
            if loud < _QUIET_DB:
                notes.append(WARN_QUIET)
            if _NOISY_DB[0] <= loud - pause < _NOISY_DB[1]:
                notes.append(WARN_NOISY)
        if self._samples and self._flat / self._samples > _CLIPPED_SHARE:
            notes.append(WARN_CLIPPED)
        return tuple(notes)

    def _level_db(self, share: float) -> float:
        """The level that `share` of the frames do not exceed."""
        louder = np.cumsum(self._levels)  # frames at least so loud
        return -float(np.searchsorted(louder, (1 - share) * louder[-1]))
