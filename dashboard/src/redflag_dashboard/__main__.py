"""`python -m redflag_dashboard`."""

from redflag_dashboard.main import main

main()
