"""Engines that animate a portrait: pure frames in, frames out."""
