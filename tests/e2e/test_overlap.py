"""The stages of one job work at the same time."""

from __future__ import annotations

import pytest
from visema_client import VideoSettings, Visema
from visema_client.cli.bench import repeated
from visema_client.cli.demo import SAMPLES

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]


def test_each_stage_starts_before_the_one_in_front_has_ended(client: Visema) -> None:
    fresh_motion = VideoSettings(seed=90210)  # no other test has left frames of it in the store
    speech = repeated(SAMPLES / "speech.wav", 2)  # long enough for a stage whose first call is slow
    job = client.generate(SAMPLES / "portrait.jpg", speech, settings=fresh_motion).job
    stages = {stage.stage: stage for stage in job.report.stages}
    assert list(stages) == ["liveportrait", "wav2lip", "encoder"]
    first = {name: stage.first_segment_offset.ToNanoseconds() for name, stage in stages.items()}
    last = {name: stage.last_segment_offset.ToNanoseconds() for name, stage in stages.items()}
    assert first["wav2lip"] < last["liveportrait"]
    assert first["encoder"] < last["wav2lip"]
    assert all(0 < first[name] < last[name] for name in stages)
    assert not job.report.prepared
