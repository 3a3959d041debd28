"""Start programs that serve pages, as users start them."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCREENSHOTS = ROOT / ".cache" / "screenshots"
"""CI uploads the folder."""

IMAGES = Path(os.environ.get("MESHFLOW_IMAGES") or SCREENSHOTS)
"""Of the README: `make images` sets docs/images."""


@contextmanager
def serving(
    command: Callable[[int], list[str]], health: str, log: Path, settings: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run `command` with a free port in the project's folder, and yield its address once the path `health` responds.

    Its output goes to `log`. Of the variables `MESHFLOW_*` it gets those in `settings` only.
    """
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MESHFLOW_")}
    with (
        log.open("w") as output,
        subprocess.Popen(
            command(port),
            cwd=ROOT,
            env={**environment, **(settings or {})},
            stdout=output,
            stderr=output,
            start_new_session=True,  # make has children
        ) as process,
    ):
        try:
            address = f"http://localhost:{port}"
            while not _responds(address + health):
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def _responds(url: str) -> bool:
    try:
        with urllib.request.urlopen(url):  # noqa: S310 - an address on this machine
            return True
    except OSError:
        return False
