"""Package managers: what a host could update, the exact plan of an update, and carrying out that plan."""
