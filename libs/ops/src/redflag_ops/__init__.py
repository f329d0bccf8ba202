"""How RedFlag's programs log, answer probes and expose metrics."""
