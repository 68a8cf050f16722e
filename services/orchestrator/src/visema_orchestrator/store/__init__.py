"""What the orchestrator remembers, in SQLite or PostgreSQL."""
