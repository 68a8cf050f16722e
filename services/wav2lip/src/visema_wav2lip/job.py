"""One lip-sync job in the terms of this service."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from visema.common.v1 import common_pb2
from visema_kit import keys
from visema_kit.digest import digest_of
from visema_kit.engines import EngineDescription
from visema_media.segments import SegmentCodec

from visema_wav2lip.engines.protocol import LipSyncSettings


@dataclass(frozen=True, slots=True)
class SyncJob:
    """What to synchronise and for whom.

    Attributes:
        tenant: Owner of everything that is read and written.
        work_id: Job that the segments belong to.
        audio: 16-bit PCM WAV of the whole speech.
        frame_rate: Frames per second.
        frame_count: Frames of the whole video.
        settings: How the mouth moves.
        reference: Segment whose first frame shows the mouth at rest; None: the first one that comes.
    """

    tenant: str
    work_id: str
    audio: common_pb2.ObjectRef
    frame_rate: Fraction
    frame_count: int
    settings: LipSyncSettings
    reference: common_pb2.Segment | None

    def segment_key(
        self,
        segment: common_pb2.Segment,
        reference: common_pb2.Segment,
        engine: EngineDescription,
        codec: SegmentCodec,
    ) -> str:
        """Where the result for `segment` is stored: named by everything that shapes its pixels."""
        digest = digest_of(
            "visema.sync",
            (*engine.identity(), codec),
            self.audio.sha256,
            (self.frame_rate, self.frame_count, self.settings.mouth_strength),
            reference.object.sha256,
            (segment.object.sha256, segment.first_frame, segment.frame_count),
        )
        return keys.job_key(self.tenant, self.work_id, "sync", f"{digest}.mkv")
