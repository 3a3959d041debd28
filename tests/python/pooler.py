"""PgBouncer's rejection of a connection with a parameter that it can't pass on.

There is no PgBouncer to test with. This server sends the bytes that PgBouncer's source sends (send_pooler_error).
"""

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread


class Rejection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        startup = b""
        while b"options\0" not in startup:
            startup = self.rfile.read(int.from_bytes(self.rfile.read(4)) - 4)
            if len(startup) == 4:  # a request for an encrypted connection
                self.wfile.write(b"N")
        fields = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
        self.wfile.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)


@contextmanager
def rejecting_pooler() -> Iterator[int]:
    """The port of a server that rejects every connection, as PgBouncer does."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Rejection) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
