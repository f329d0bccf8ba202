"""``python -m redflag_dispatcher``."""

import sys

from redflag_dispatcher.main import main

sys.exit(main())
