"""REST API, query worker and client."""
