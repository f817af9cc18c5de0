"""The entry point of ``python -m job``."""

import sys

from job.main import main

if __name__ == "__main__":
    sys.exit(main())
