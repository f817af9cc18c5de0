"""A credential helper for Docker: asks ECR for the password when Docker asks for it, and keeps nothing.

Usage, by Docker: ``ecr_login.py REGION PROFILE get``, the registry's name on stdin, JSON on stdout.
"""

import base64
import json
import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def main(region: str, profile: str, action: str) -> int:
    """Answer Docker; on failure return 1 and explain on stderr, because Docker hides stdout."""
    if action != "get":  # there is nothing to store, list or erase
        return 0
    registry = sys.stdin.read().strip()
    try:
        ecr = boto3.Session(profile_name=profile or None, region_name=region).client("ecr")
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    except (BotoCoreError, ClientError) as error:
        # The name alone: the text can quote what a credential process printed.
        name = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        print(f"ECR gives no password ({name})", file=sys.stderr)
        return 1
    user, _, password = base64.b64decode(token).decode().partition(":")
    json.dump({"ServerURL": registry, "Username": user, "Secret": password}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
