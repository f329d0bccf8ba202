"""``python -m redflag_gateway``."""

import sys

from redflag_gateway.main import main

sys.exit(main())
