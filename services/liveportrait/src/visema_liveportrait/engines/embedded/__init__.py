"""Embedded engine: pseudo-3-D warps of the portrait itself; needs no weights beyond those in pip packages."""
