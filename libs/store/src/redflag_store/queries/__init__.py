"""Named queries, one module per concern; each takes the caller's session and never commits."""
