"""`python -m redflag_scanner_agent` is the `redflag-agent` command."""

import sys

from redflag_scanner_agent.main import main

if __name__ == "__main__":
    sys.exit(main())
