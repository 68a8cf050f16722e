"""Stage 0: speaks text."""
