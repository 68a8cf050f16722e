"""Lip-sync engines: pure functions of frames, behind one protocol."""
