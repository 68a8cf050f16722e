"""Runs the whole of VISEMA on this machine. Needs the extra `visema-client[local]`."""

from visema_client.localstack.errors import LocalStackError
from visema_client.localstack.stack import LocalStack, StackOptions
from visema_client.localstack.state import default_folder

__all__ = ["LocalStack", "LocalStackError", "StackOptions", "default_folder"]
