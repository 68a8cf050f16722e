"""Stands for a service in tests of the local stack."""
