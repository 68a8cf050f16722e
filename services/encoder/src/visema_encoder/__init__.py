"""Stage 3: encodes segments and audio into an MP4."""
