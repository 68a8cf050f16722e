"""Judge finished videos with the independent quality meter, against the acceptance bars of the embedded engines.

    python tools/quality.py [--server HOST:PORT] [--size 512] [--speech-motion 0] [--out out/quality] [PORTRAIT…]

makes a video of every sample portrait in English and Russian, measures it, prints the bars that it misses, and leaves
videos, figures (JSON) and framed portraits in the output folder. Needs ../shared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared"
METER = SHARED / "tools" / "measure_avatar.py"
SAMPLES = SHARED / "samples"
SPEECH = {"en": SAMPLES / "speech_en_5s.wav", "ru": SAMPLES / "speech_ru_8s.wav"}


@dataclass(frozen=True, slots=True)
class Sample:
    """A portrait and what can be asked of it.

    Attributes:
        kind: `photo`, `painting` or `turned`: decides how strict the bars are.
        open_mouth: The photo shows parted lips, so silence is not perfectly still.
    """

    file_name: str
    kind: str
    open_mouth: bool = False

    @property
    def name(self) -> str:
        """Short name for files and test ids."""
        return Path(self.file_name).stem.removeprefix("portrait_")

    @property
    def path(self) -> Path:
        """Where the picture lies."""
        return SAMPLES / self.file_name


PORTRAITS = (
    Sample("portrait_astronaut_smile.png", "photo", open_mouth=True),
    Sample("portrait_mona_lisa.jpg", "painting"),
    Sample("portrait_girl.jpg", "painting"),
    Sample("portrait_lady_small_face.jpg", "painting"),
    Sample("portrait_pearl_earring_turned.jpg", "turned", open_mouth=True),
)

OWN_SIZE_PX = 512  # of our own bars

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bar:
    """One condition on a figure of the meter."""

    figure: str
    wanted: str
    holds: Callable[[Figures], bool]


def at_least(figure: str, limit: float) -> Bar:
    """The figure must reach the limit."""
    return Bar(figure, f">= {limit}", lambda figures: figures[figure] >= limit)


def below(figure: str, limit: float) -> Bar:
    """The figure must stay under the limit."""
    return Bar(figure, f"< {limit}", lambda figures: figures[figure] < limit)


def between(figure: str, low: float, high: float) -> Bar:
    """The figure must lie in the closed range."""
    return Bar(figure, f"{low} to {high}", lambda figures: low <= figures[figure] <= high)


def blink_rate_holds(figures: Figures) -> bool:
    """8 to 30 blinks a minute; a clip under 8 s is counted: 1 to 3 blinks."""
    if figures["duration_s"] < 8:
        return bool(1 <= figures["blink_count"] <= 3)
    return bool(8 <= figures["blinks_per_min"] <= 30)


def breath_holds(figures: Figures) -> bool:
    """Where the clothes have texture enough to measure: a visible, regular breath."""
    if figures["breath_texture"] <= 4:
        return True
    return bool(figures["breath_amp_px"] >= 0.4 * figures["width"] / 512 and figures["breath_r2"] >= 0.5)


def measured_in_silence(bar: Bar) -> Bar:
    """A bar that holds when the speech has no silent span to measure."""
    return Bar(bar.figure, bar.wanted, lambda figures: figures[bar.figure] is None or bar.holds(figures))


def motion_bars() -> list[Bar]:
    """Bars on head, eyes, breathing and background that every video must meet."""
    return [
        at_least("face_found", 1.0),
        Bar("blinks_per_min", "8 to 30 (1 to 3 in a short clip)", blink_rate_holds),
        Bar("blink_ms", "each 120 to 300", lambda figures: all(120 <= ms <= 300 for ms in figures["blink_ms"])),
        below("ear_min_norm", 0.40),
        between("yaw_peak_deg", 1.0, 5.0),
        between("pitch_peak_deg", 0.7, 4.0),
        between("roll_peak_deg", 0.7, 4.0),
        below("head_max_step_smooth_deg", 1.0),
        below("head_hf_ratio", 0.15),
        Bar("breath_amp_px", ">= 0.4 at 512 px with r2 >= 0.5 where there is texture", breath_holds),
        below("face_dE", 1.5),
        Bar("blue_shift", "> -0.5", lambda figures: figures["blue_shift"] > -0.5),
        between("upper_sharp", 0.85, 1.1),
        below("dup_ratio", 0.02),
        below("frame_diff_max_ratio", 4.0),
    ]


def bars_for(sample: Sample) -> list[Bar]:
    """The bars for a speaking video of the sample, from the embedded engine's notes."""
    correlation = 0.75 if sample.kind == "photo" else 0.60
    upper = {"photo": 0.93, "painting": 0.87, "turned": 0.80}[sample.kind]
    background = {"photo": 0.97, "painting": 0.97, "turned": 0.90}[sample.kind]
    return [
        *motion_bars(),
        at_least("mouth_range", 4.0),
        below("mouth_max_step", 8.0),
        at_least("audio_corr0", correlation),
        Bar("audio_lag_frames", "within 1", lambda figures: abs(figures["audio_lag_frames"]) <= 1),
        measured_in_silence(at_least("closed_in_silence", 0.95)),
        measured_in_silence(below("mouth_silence", 1.0)),
        measured_in_silence(below("silence_jitter", 0.8 if sample.open_mouth else 0.1)),
        Bar("bg_psnr_db", ">= 36 where there is background", lambda f: f.get("bg_psnr_db", 99) >= 36),
        Bar("bg_ssim", f">= {background} where there is background", lambda f: f.get("bg_ssim", 1) >= background),
        Bar("bg_flicker_p999", "< 3", lambda f: f.get("bg_flicker_p999", 0) < 3),
        at_least("upper_ssim", upper),
        below("av_diff_ms", 45),
        Bar("profile", "High", lambda figures: figures["profile"] == "High"),
        Bar("pix_fmt", "yuv420p", lambda figures: figures["pix_fmt"] == "yuv420p"),
    ]


def own_bars(sample: Sample) -> list[Bar]:
    """Tighter ones that our videos of 512 pixels have to meet: what they reach, with some room."""
    return [
        below("face_dE", 1.0),
        below("head_max_step_smooth_deg", 0.9),
        Bar(
            "breath_r2", ">= 0.75 where there is texture", lambda f: f["breath_texture"] <= 4 or f["breath_r2"] >= 0.75
        ),
        below("frame_diff_max_ratio", 2.5),
        below("dup_ratio", 0.005),
        Bar("audio_lag_frames", "within 0.4", lambda f: abs(f["audio_lag_frames"]) <= 0.4),
        measured_in_silence(at_least("closed_in_silence", 0.99)),
        measured_in_silence(below("mouth_silence", 0.4)),
        measured_in_silence(below("silence_jitter", 0.25 if sample.open_mouth else 0.06)),
        Bar("bg_psnr_db", ">= 40 where there is background", lambda f: f.get("bg_psnr_db", 99) >= 40),
        Bar("bg_flicker_p999", "< 1.2", lambda f: f.get("bg_flicker_p999", 0) < 1.2),
        below("av_diff_ms", 25),
    ]


def idle_bars() -> list[Bar]:
    """The bars for a video of one loop in which nobody speaks."""
    seam = Bar(
        "seam_ratio",
        "<= frame_diff_max_ratio",
        lambda figures: figures["seam_ratio"] <= figures["frame_diff_max_ratio"],
    )
    return [*motion_bars(), below("mouth_range", 0.6), seam]


def measure(portrait: Path, audio: Path | None, video: Path, *, loop: bool = False) -> Figures:
    """Run the meter in a process of its own. Raises: subprocess.CalledProcessError: it failed."""
    command = [sys.executable, str(METER), str(portrait), str(audio) if audio else "-", str(video)]
    if loop:
        command.append("--loop")
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: Figures = json.loads(output[output.index("{") :])
    return figures


def missed(figures: Figures, bars: Iterable[Bar]) -> list[str]:
    """The bars that the figures miss, in words."""
    return [f"{bar.figure} = {figures.get(bar.figure)}, wanted {bar.wanted}" for bar in bars if not bar.holds(figures)]


def write_framed_portrait(sample: Sample, size_px: int, target: Path) -> None:
    """Store the portrait as stage 1 framed it, which is what the meter compares with."""
    import cv2  # noqa: PLC0415  the meter's own process needs it too; --help does not
    from visema_media.face import find_faces  # noqa: PLC0415
    from visema_media.framing import Framing, frame_portrait  # noqa: PLC0415
    from visema_media.image import load_portrait  # noqa: PLC0415
    from visema_media.limits import MediaLimits  # noqa: PLC0415

    picture = load_portrait(sample.path.read_bytes(), MediaLimits()).bgr
    framed = frame_portrait(picture, find_faces(picture)[0], Framing.BUST, size_px)
    cv2.imwrite(str(target), framed.bgr)


def make_video(
    sample: Sample, speech: Path, target: Path, *, size_px: int, server: str | None, speech_motion: float
) -> None:
    """Make a video with the command line that users have."""
    command = [sys.executable, "-m", "visema_client", "generate", str(sample.path), str(speech)]
    command += ["-o", str(target), "--size", str(size_px), "--speech-motion", str(speech_motion), "--json"]
    if server:
        command += ["--server", server]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure the samples named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", nargs="*", help="names such as mona_lisa; all when none is given")
    parser.add_argument("--server", help="orchestrator to use; a private stack when not given")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--speech-motion", type=float, default=0.0, help="how much the head follows the speech")
    parser.add_argument("--out", type=Path, default=Path("out/quality"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    failures = 0
    for sample in PORTRAITS:
        if arguments.portraits and sample.name not in arguments.portraits:
            continue
        framed = arguments.out / f"{sample.name}.png"
        write_framed_portrait(sample, arguments.size, framed)
        for language, speech in SPEECH.items():
            video = arguments.out / f"{sample.name}_{language}.mp4"
            make_video(
                sample,
                speech,
                video,
                size_px=arguments.size,
                server=arguments.server,
                speech_motion=arguments.speech_motion,
            )
            figures = measure(framed, speech, video)
            video.with_suffix(".json").write_text(json.dumps(figures, indent=1))
            misses = missed(figures, bars_for(sample) + (own_bars(sample) if arguments.size == OWN_SIZE_PX else []))
            failures += bool(misses)
            print(f"{sample.name} {language}: {'all bars met' if not misses else '; '.join(misses)}", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
