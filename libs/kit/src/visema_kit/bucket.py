"""`python -m visema_kit.bucket`: makes the bucket and puts our expiry rules back; the cluster's nightly job.

The services do the same when they start. Rules that others made stay. Exit status: 0 done, 1 the store does not answer
or refuses, with the reason on stderr.
"""

from __future__ import annotations

import sys

from visema_kit.errors import VisemaError
from visema_kit.s3 import S3Bucket, StoreConfig
from visema_kit.settings import ServiceSettings, load_settings


def main() -> int:
    """Exit status."""
    bucket = S3Bucket(StoreConfig.from_settings(load_settings(ServiceSettings)))
    try:
        bucket.ensure()
        rules = bucket.expiry_days()
    except VisemaError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    finally:
        bucket.close()
    sys.stdout.write(f"{bucket.name}: " + ", ".join(f"{prefix} {days} d" for prefix, days in rules.items()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
