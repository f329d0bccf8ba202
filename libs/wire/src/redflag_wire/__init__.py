"""What travels between RedFlag programs: envelopes, keys, commands, reports, and how they are checked."""
