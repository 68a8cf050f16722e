"""Engines that speak, and the rule that picks one."""
