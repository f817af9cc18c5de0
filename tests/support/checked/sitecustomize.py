"""On PYTHONPATH: every Python that starts, the AWS CLI too, checks its requests and writes them down."""

import os

if "API_CALLS" in os.environ:
    from tests.support.checked.requests import install

    install(os.environ["API_CALLS"])
