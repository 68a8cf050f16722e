"""The job that sets the bucket's expiry rules, on a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from minio import Minio

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "k8s" / "base" / "bucket_lifecycle.py"


def test_the_script_makes_the_bucket_and_sets_every_rule_and_may_run_again(s3_server):
    variables = {**os.environ, **s3_server.environment(), "VISEMA_S3_BUCKET": "lifecycle-test"}
    for _ in range(2):
        subprocess.run([sys.executable, SCRIPT], env=variables, check=True, timeout=60)
    client = Minio(
        s3_server.endpoint.removeprefix("http://"),
        s3_server.access_key,
        s3_server.secret_key,
        secure=False,
        region=s3_server.region,
    )
    config = client.get_bucket_lifecycle("lifecycle-test")
    assert config is not None
    rules = {rule.rule_filter.prefix: rule.expiration.days for rule in config.rules}
    assert rules == {"jobs/": 1, "uploads/": 8, "results/": 30, "loops/": 60}
