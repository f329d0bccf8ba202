"""The operators' command line: speaks REST to the dashboard and nothing else."""
