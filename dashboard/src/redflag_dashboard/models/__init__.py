"""What requests and answers of the API look like; one module per domain, shared shapes in `common`."""
