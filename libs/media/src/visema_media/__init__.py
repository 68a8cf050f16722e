"""Media decoding with limits, segments, audio, face landmarks, colour and masks; knows no gRPC."""
