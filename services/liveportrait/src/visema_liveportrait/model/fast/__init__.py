"""The networks that run for every frame, rewritten to give the same numbers sooner."""
