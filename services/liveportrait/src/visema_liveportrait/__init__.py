"""Stage 1: animates a portrait (blinks, head motion, breathing)."""
