"""The networks of the Wav2Lip family, one file each, with exactly the published tensor names and shapes."""

from visema_wav2lip.model.s3fd import S3FD
from visema_wav2lip.model.syncnet import SyncNet
from visema_wav2lip.model.wav2lip import Wav2Lip

__all__ = ["S3FD", "SyncNet", "Wav2Lip"]
