"""Messages to Slack."""

import click
import requests

WEBHOOK = "MESHFLOW_SLACK_WEBHOOK"
"""The variable with the URL of an incoming webhook. It is a secret."""


def post(webhook: str, text: str) -> None:
    """Post `text` as it is. Raises click.ClickException, which never quotes the URL."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    try:
        response = requests.post(webhook, json={"text": plain}, timeout=10)
    except requests.RequestException as error:
        raise click.ClickException(f"Posting to Slack failed: {type(error).__name__}") from None
    if not response.ok:
        raise click.ClickException(f"Posting to Slack failed: HTTP {response.status_code}")
