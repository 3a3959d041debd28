"""Commands print complete values, in a narrow terminal and through a pipe."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from workspace import Workspace

PROGRAM = """
from meshflow.terminal import grid, show
table = grid("reject_reason", "rejected", "remedy", right={"rejected"})
table.add_row("discount_rate_out_of_range", "2", "Correct it: [15 percent] is 0.15, " + "as in the contract " * 9)
table.add_row("x" * 100, "1", ":warning:")
show(table)
"""


def printed(columns: int | None, command: Sequence[str | Path] = (sys.executable, "-c", PROGRAM), **where: Any) -> str:
    """The output of a command in a terminal with that many columns, or through a pipe. `where` is for Popen."""
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | where.pop("env", {})
    if columns is None:
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, **where).stdout
    parent_end, child_end = pty.openpty()
    fcntl.ioctl(child_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment["TERM"] = "dumb"
    with subprocess.Popen(command, env=environment, stdin=child_end, stdout=child_end, **where) as process:
        os.close(child_end)
        text = b""
        with suppress(OSError):  # Linux raises it when the other end is closed
            while part := os.read(parent_end, 4096):
                text += part
        assert process.wait() == 0
    os.close(parent_end)
    return text.decode()


def test_a_narrow_terminal_folds_long_values() -> None:
    lines = printed(80).splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "…" not in text
    assert text.count("x") == 100
    assert "[15 percent]" in text
    assert ":warning:" in text


def test_a_pipe_gets_one_line_per_row() -> None:
    lines = printed(None).splitlines()
    assert len(lines) == 4
    assert "x" * 100 in lines[3]
    assert "discount_rate_out_of_range" in lines[2]


@pytest.fixture(scope="module")
def workspace(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return built.clone(tmp_path_factory.mktemp("terminal"))


def command(workspace: Workspace, columns: int | None, *arguments: str) -> str:
    """The output of `meshflow` or `sqlmesh` in the project."""
    program, *rest = arguments
    where = {"cwd": workspace.path, "env": workspace.environment}
    return printed(columns, [Path(sys.executable).with_name(program), *rest], **where)


def test_audits_of_one_name_are_told_apart_in_a_narrow_terminal(workspace: Workspace) -> None:
    output = command(workspace, 80, "meshflow", "audit", "--gateway", "local")
    table, _, _ = output.partition("forall_non_blocking:")
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in output
    rows = [line[1:].split("   ") for line in table.splitlines()[2:]]
    text = "".join(part.strip() for part in (row[0] for row in rows))
    assert "intermediate.int_retail__sales_validated" in text
    piped = command(workspace, None, "meshflow", "audit", "--gateway", "local")
    checks = [line.split("forall_non_blocking")[1].split("  ")[1:] for line in piped.splitlines() if "warning" in line]
    assert len({str(check) for check in checks}) == len(checks) >= 4


def test_a_query_of_readme_shows_all_columns_and_rows(workspace: Workspace) -> None:
    columns = ("enrollment_id", "student_id", "enrollment_date", "_loaded_at")
    output = command(
        workspace, None, "sqlmesh", "fetchdf", "SELECT * FROM edtech.fct_enrollment ORDER BY enrollment_id"
    )
    assert all(column in output.lower() for column in columns)
    assert "..." not in output
    assert output.count("\n") > 400
