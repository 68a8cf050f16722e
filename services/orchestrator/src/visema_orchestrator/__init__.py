"""Takes jobs, chains the stages and keeps their state."""
