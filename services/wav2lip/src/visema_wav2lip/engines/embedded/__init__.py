"""Embedded engine: moves the portrait's own lips by geometry; needs no weights."""
