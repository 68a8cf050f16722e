"""Neural voices of the Piper format, on ONNX Runtime."""
