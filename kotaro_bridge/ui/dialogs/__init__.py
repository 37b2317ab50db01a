"""Windows that answer one thing."""
