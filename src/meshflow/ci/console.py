"""SQLMesh's console for jobs whose log is public: it prints what is done, and no text of an error."""

import logging
from typing import Any

import click
from sqlmesh.core.console import TerminalConsole
from sqlmesh.core.test import ModelTextTestResult
from sqlmesh.utils.concurrency import NodeExecutionFailedError
from sqlmesh.utils.errors import NodeAuditsErrors

from meshflow.failures import explain

logger = logging.getLogger(__name__)


class PublicConsole(TerminalConsole):
    """Errors and warnings go to `meshflow.failures.LOG`. Of an error the console prints what is public."""

    def log_failed_models(self, errors: list[NodeExecutionFailedError[Any]]) -> None:
        for error in errors:
            self._print_line(explain(error))
            if isinstance(error.__cause__, NodeAuditsErrors):
                for audit in error.__cause__.errors:
                    logger.error("%s. Audit query:\n%s", audit, audit.sql())

    def log_error(self, message: str) -> None:
        logger.error("%s", message)

    def log_warning(self, short_message: str, long_message: str | None = None) -> None:
        logger.warning("%s", long_message or short_message)

    def log_test_results(self, result: ModelTextTestResult, target_dialect: str) -> None:  # noqa: ARG002
        """Print the tests that failed, without the rows they compare."""
        failed = result.get_fail_and_error_tests()
        self._print_line(f"{result.testsRun} unit tests run, {len(failed)} failed")
        for test in failed:
            self._print_line(f"{test.path}::{test.test_name}")

    def _print_line(self, text: str) -> None:
        click.echo(text)
