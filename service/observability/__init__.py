"""What operators see of a running service: logs, request ids, metrics."""
