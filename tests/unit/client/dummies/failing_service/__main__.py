"""Ends with a reason in its log."""

import sys

if __name__ == "__main__":
    print("the weights are missing", flush=True)  # noqa: T201
    sys.exit(7)
