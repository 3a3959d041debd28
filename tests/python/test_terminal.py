"""What commands print reaches people whole, in a narrow terminal and through a pipe."""

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
table.add_row("discount_rate_out_of_range", "2", "Correct it: [15 percent] is 0.15, " + "as the contract says " * 9)
table.add_row("x" * 100, "1", ":warning:")
show(table)
"""


def printed(columns: int | None) -> str:
    """What PROGRAM prints in a terminal so wide, or through a pipe."""
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-c", PROGRAM]
    if columns is None:
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(command, env={**environment, "TERM": "dumb"}, stdin=theirs, stdout=theirs) as process:
        os.close(theirs)
        text = b""
        with suppress(OSError):  # Linux's way to say that the other end is closed
            while part := os.read(ours, 4096):
                text += part
        assert process.wait() == 0
    os.close(ours)
    return text.decode()


def test_a_narrow_terminal_folds_what_it_has_no_room_for() -> None:
    lines = printed(80).splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "…" not in text
    assert text.count("x") == 100
    assert "[15 percent]" in text
    assert ":warning:" in text


def test_a_pipe_gets_a_line_for_each_row() -> None:
    lines = printed(None).splitlines()
    assert len(lines) == 4
    assert "x" * 100 in lines[3]
    assert "discount_rate_out_of_range" in lines[2]
