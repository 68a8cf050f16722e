"""Stands for a service that does not start."""
