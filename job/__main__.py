"""Lets ``python -m job`` run the job."""

import sys

from job.main import main

if __name__ == "__main__":
    sys.exit(main())
