"""Commands print complete values, in a narrow terminal and through a pipe."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress

PROGRAM = """
from meshflow.terminal import grid, show
table = grid("reject_reason", "rejected", "remedy", right={"rejected"})
table.add_row("discount_rate_out_of_range", "2", "Correct it: [15 percent] is 0.15, " + "as in the contract " * 9)
table.add_row("x" * 100, "1", ":warning:")
show(table)
"""


def printed(columns: int | None) -> str:
    """The output of PROGRAM in a terminal with that many columns, or through a pipe."""
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-c", PROGRAM]
    if columns is None:
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    parent_end, child_end = pty.openpty()
    fcntl.ioctl(child_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(command, env={**environment, "TERM": "dumb"}, stdin=child_end, stdout=child_end) as process:
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
