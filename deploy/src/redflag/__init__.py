"""The redflag command: all of RedFlag on one machine, and the operator's command line."""
