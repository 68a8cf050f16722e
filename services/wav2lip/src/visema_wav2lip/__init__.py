"""Stage 2: shapes the mouth from the audio."""
