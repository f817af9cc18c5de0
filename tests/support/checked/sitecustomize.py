"""On PYTHONPATH, this module lets every Python, also the AWS CLI's, check and record its requests."""

import os

if "API_CALLS" in os.environ:
    from tests.support.checked.requests import install

    install(os.environ["API_CALLS"])
