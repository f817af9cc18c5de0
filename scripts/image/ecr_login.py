"""A credential helper for Docker: gets the password from ECR whenever Docker needs it, and stores nothing.

Usage, by Docker: ``ecr_login.py REGION PROFILE get``, with the registry's name on stdin. Prints JSON.
"""

import base64
import json
import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def main(region: str, profile: str, action: str) -> int:
    """Print the password; on failure explain on stderr, because Docker hides stdout, and return 1."""
    if action != "get":  # there is nothing to store, list or erase
        return 0
    registry = sys.stdin.read().strip()
    try:
        ecr = boto3.Session(profile_name=profile or None, region_name=region).client("ecr")
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    except (BotoCoreError, ClientError) as error:
        # Only the error's name is shown: its text can quote the output of a credential process.
        name = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        print(f"ECR gives no password ({name})", file=sys.stderr)
        return 1
    user, _, password = base64.b64decode(token).decode().partition(":")
    json.dump({"ServerURL": registry, "Username": user, "Secret": password}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
