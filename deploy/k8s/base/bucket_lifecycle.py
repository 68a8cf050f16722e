"""Sets the bucket's expiry rules: the backstop where a job's clean-up or the orchestrator's sweep did not come to pass.

Runs in the orchestrator's image with the services' own variables.
"""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

DAYS = {"jobs/": 1, "uploads/": 8, "results/": 30, "loops/": 60}  # longer than the orchestrator's own limits


def main() -> None:
    """Make the bucket if it is missing and write the rules."""
    url = urlsplit(os.environ["VISEMA_S3_ENDPOINT"])
    client = Minio(
        url.netloc,
        os.environ["VISEMA_S3_ACCESS_KEY"],
        os.environ["VISEMA_S3_SECRET_KEY"],
        secure=url.scheme == "https",
        region=os.environ["VISEMA_S3_REGION"],
    )
    bucket = os.environ["VISEMA_S3_BUCKET"]
    if not client.bucket_exists(bucket):
        client.make_bucket(bucket)
    rules = [
        Rule(
            ENABLED,
            rule_filter=Filter(prefix=prefix),
            rule_id=f"visema-{prefix[:-1]}",
            expiration=Expiration(days=days),
        )
        for prefix, days in DAYS.items()
    ]
    client.set_bucket_lifecycle(bucket, LifecycleConfig(rules))
    sys.stdout.write(f"{bucket}: " + ", ".join(f"{prefix} {days} d" for prefix, days in DAYS.items()) + "\n")


if __name__ == "__main__":
    main()
