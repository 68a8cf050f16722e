"""What the gateway does, without HTTP: a small façade over the SDK."""
