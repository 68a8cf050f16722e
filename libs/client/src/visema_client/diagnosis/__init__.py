"""Looks at this machine: can a job run here, and on which engines?"""
