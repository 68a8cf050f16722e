"""Job and avatar specs: ranges, defaults, and how a job changes its avatar."""

from __future__ import annotations

import pytest
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema.portrait.v1 import portrait_pb2
from visema_kit.errors import InvalidInput
from visema_orchestrator import spec as wishes


def job(**fields: object) -> jobs_pb2.JobSpec:
    return jobs_pb2.JobSpec(**{"portrait": common_pb2.ObjectRef(), "audio": common_pb2.ObjectRef(), **fields})


def test_a_plain_job_gets_the_defaults() -> None:
    wishes.check_job_spec(job())
    look = wishes.without_avatar(job())
    assert (look.size_px, look.frame_rate.numerator, look.frame_rate.denominator) == (512, 25, 1)


def test_a_rate_counts_by_its_value_and_comes_out_in_lowest_terms() -> None:
    doubled = job(frame_rate=common_pb2.FrameRate(numerator=60, denominator=2))
    wishes.check_job_spec(doubled)
    assert wishes.without_avatar(doubled).frame_rate == common_pb2.FrameRate(numerator=30, denominator=1)
    for numerator, denominator in ((25, 0), (0, 1), (-25, -1), (30000, 1001)):
        with pytest.raises(InvalidInput):
            wishes.check_job_spec(job(frame_rate=common_pb2.FrameRate(numerator=numerator, denominator=denominator)))


def test_a_job_overrides_its_avatar_field_by_field() -> None:
    avatar = avatars_pb2.AvatarSpec(size_px=256, framing=portrait_pb2.FRAMING_FACE)
    avatar.motion.seed = 7
    plain = wishes.with_avatar(jobs_pb2.JobSpec(avatar_id="a"), avatar)
    assert (plain.size_px, plain.motion.seed, plain.framing) == (256, 7, portrait_pb2.FRAMING_FACE)
    changed = jobs_pb2.JobSpec(avatar_id="a", size_px=1024)
    changed.motion.head_motion = 0
    look = wishes.with_avatar(changed, avatar)
    assert look.size_px == 1024
    assert not look.motion.HasField("seed"), "a job's motion stands instead of the avatar's"


def test_face_and_framing_cannot_be_given_with_an_avatar() -> None:
    for extra in ({"framing": portrait_pb2.FRAMING_FACE}, {"face": portrait_pb2.FaceSelection(largest=True)}):
        with pytest.raises(InvalidInput):
            wishes.check_job_spec(jobs_pb2.JobSpec(avatar_id="a", audio=common_pb2.ObjectRef(), **extra))


def test_the_request_to_stage_one_says_everything() -> None:
    look = wishes.without_avatar(job(face=portrait_pb2.FaceSelection(index=2), size_px=300))
    context = common_pb2.WorkContext(tenant="t", work_id="w")
    request = wishes.animate_request(look, context, 83)
    assert (request.size_px, request.frame_count, request.face.index, request.context.tenant) == (300, 83, 2, "t")


def test_stage_one_hears_the_speech_of_a_job_whose_motion_is_no_loop() -> None:
    speech, context = common_pb2.ObjectRef(key="jobs/t/w/speech.wav"), common_pb2.WorkContext(tenant="t", work_id="w")
    for motion, hears in (
        (portrait_pb2.MotionSettings(), False),
        (portrait_pb2.MotionSettings(loop=True), False),
        (portrait_pb2.MotionSettings(loop=False), True),
    ):
        request = wishes.animate_request(wishes.without_avatar(job(motion=motion)), context, 83, speech)
        assert request.HasField("speech") is hears
        assert request.speech == (speech if hears else common_pb2.ObjectRef())


@pytest.mark.parametrize("limit", [0, 0.49, 2.01, float("inf")])
def test_a_speaking_rate_out_of_range_is_refused(limit: float) -> None:
    text = jobs_pb2.SpeechText(text="hello", speaking_rate=limit)
    with pytest.raises(InvalidInput):
        wishes.check_job_spec(jobs_pb2.JobSpec(portrait=common_pb2.ObjectRef(), text=text))


@pytest.mark.parametrize("text", ["", "   ", "x" * 5001])
def test_a_text_must_say_something_and_not_too_much(text: str) -> None:
    with pytest.raises(InvalidInput):
        wishes.check_job_spec(jobs_pb2.JobSpec(portrait=common_pb2.ObjectRef(), text=jobs_pb2.SpeechText(text=text)))
