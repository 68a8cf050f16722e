"""Generated protobuf and gRPC code of the VISEMA API; see protos/."""
