"""`redflag up`: all of RedFlag on one machine, started in order, watched, and stopped in order."""
