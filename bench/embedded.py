"""What a frame of the embedded engines costs one core.

`OPENBLAS_NUM_THREADS=1 python bench/embedded.py [SIDE_PX] [PORTRAIT …]` animates each portrait for five seconds and
moves its lips to speech, in one thread, several times, and prints the median processor time per frame of both stages
and, beside it, what comes once per portrait. Processor time, not the clock's: other work on the machine matters less.
Without ../shared it takes the portrait of the demo.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import cv2
import visema_client
from visema_liveportrait.engines.embedded.engine import EmbeddedEngine as Animator
from visema_liveportrait.motion_planner import MotionPlanner
from visema_liveportrait.motion_settings import MotionSettings
from visema_media.audio import mono_16k
from visema_media.face import find_faces, warm_up
from visema_media.framing import Framing, frame_portrait
from visema_media.image import load_portrait
from visema_media.limits import MediaLimits
from visema_media.speech import decode_audio
from visema_wav2lip.engines.embedded.engine import EmbeddedEngine as LipSync
from visema_wav2lip.engines.protocol import LipSyncSettings, SegmentPart

RATE = Fraction(25)
FRAMES = 125
ROUNDS = 5
SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "samples"
DEMO = Path(visema_client.__file__).parent / "samples"

T = TypeVar("T")


def cpu_ms(work: Callable[[], T]) -> tuple[float, T]:
    """Processor time of all threads of this process."""
    started_s = time.process_time()
    result = work()
    return (time.process_time() - started_s) * 1000, result


def measure(portrait: Path, speech: Path, side_px: int) -> tuple[float, float, float, float]:
    """Milliseconds: once per portrait, stage 1 per frame, once per speech, stage 2 per frame."""
    samples = mono_16k(decode_audio(speech.read_bytes()).wav)
    picture = load_portrait(portrait.read_bytes(), MediaLimits()).bgr
    face = max(find_faces(picture), key=lambda found: found.box_px[2] * found.box_px[3])
    plan = MotionPlanner(MotionSettings(), RATE, None).plan(0, FRAMES)
    preparing_ms, prepared = cpu_ms(lambda: Animator().prepare(frame_portrait(picture, face, Framing.BUST, side_px)))
    animating_ms, animated = cpu_ms(lambda: prepared.render(plan, 0, FRAMES))
    frames, track = animated.frames, animated.track
    lip_sync = LipSync()
    opening_ms, session = cpu_ms(
        lambda: lip_sync.open(frames[0], track.slice(0, 1), samples, RATE, FRAMES, LipSyncSettings())
    )
    at_once = lip_sync.frames_per_call(side_px * side_px)

    def speak() -> None:
        for first in range(0, FRAMES, at_once):
            wanted = range(first, min(first + at_once, FRAMES))
            session.apply([SegmentPart(list(frames), track, 0, wanted)])

    speaking_ms, _ = cpu_ms(speak)
    return preparing_ms, animating_ms / FRAMES, opening_ms, speaking_ms / FRAMES


def main() -> None:
    """Print the table."""
    side_px = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    portraits = [Path(name) for name in sys.argv[2:]] or sorted(SHARED.glob("portrait_*")) or [DEMO / "portrait.jpg"]
    speech = SHARED / "speech_en_5s.wav" if SHARED.is_dir() else DEMO / "speech.wav"
    cv2.setNumThreads(1)  # as the services do
    warm_up()
    print(f"| {side_px} x {side_px} | once per portrait | stage 1 | once per speech | stage 2 | both per frame |")
    print("|---|---:|---:|---:|---:|---:|")
    for portrait in portraits:
        rounds = [measure(portrait, speech, side_px) for _ in range(ROUNDS)]
        once, first, opening, second = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(
            f"| {portrait.stem.removeprefix('portrait_')} | {once:.0f} ms | {first:.2f} ms | {opening:.0f} ms "
            f"| {second:.2f} ms | {first + second:.2f} ms |",
            flush=True,
        )


if __name__ == "__main__":
    main()
