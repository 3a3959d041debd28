"""The sources: their tables in PostgreSQL, the traffic in them, and where they run."""

from typing import Any


def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """`meshflow.source.aws.lambda_handler`, under the name that infra/aws/template.yaml gives AWS Lambda."""
    from meshflow.source import aws  # noqa: PLC0415 - numpy and psycopg, for which no other user of this package waits

    return aws.lambda_handler(event, context)
