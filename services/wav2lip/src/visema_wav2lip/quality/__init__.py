"""Measures finished frames: do the lips follow the sound, and does the rest of the picture stay as it was?

Nothing here knows an engine, a detector or a message but the sums; docs/quality.md explains the figures made of them.
"""
