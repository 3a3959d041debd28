"""The source database: its tables in PostgreSQL, the generated traffic, and the servers it runs on."""

from typing import Any


def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """The handler in infra/aws/template.yaml; calls `meshflow.source.aws.lambda_handler`."""
    from meshflow.source import aws  # noqa: PLC0415 - numpy and psycopg load only in AWS Lambda

    return aws.lambda_handler(event, context)
