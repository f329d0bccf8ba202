"""The operators' command line. It speaks REST to the dashboard and nothing else, `broker check` and `doctor` aside."""
