"""What every VISEMA service shares: settings, logs, metrics, errors, servers, object storage."""
