"""REST API and web page over the orchestrator."""
