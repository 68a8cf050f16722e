"""Python SDK and the visema command line."""
