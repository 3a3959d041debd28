"""What PgBouncer does with a connection that has a parameter it can't pass on: reject it, or ignore the parameter.

There is no PgBouncer to test with. The first server sends the bytes that PgBouncer's source sends (send_pooler_error).
The second one leaves out `options`, as with `ignore_startup_parameters`.
"""

import socket
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


@contextmanager
def ignoring_pooler(server_port: int) -> Iterator[int]:
    """The port of a server that passes connections on to PostgreSQL, without their `options`."""

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", server_port)) as server:
                server.sendall(without_options(startup_packet(self.request)))
                Thread(target=copy, args=(self.request, server), daemon=True).start()
                copy(server, self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection) as pooler:
        pooler.daemon_threads = True
        Thread(target=pooler.serve_forever).start()
        try:
            yield pooler.server_address[1]
        finally:
            pooler.shutdown()


def startup_packet(client: socket.socket) -> bytes:
    """The parameters of the session, after requests for an encrypted connection, which are declined."""
    while True:
        size = int.from_bytes(client.recv(4, socket.MSG_WAITALL))
        packet = client.recv(size - 4, socket.MSG_WAITALL)
        if len(packet) > 4:
            return packet
        client.sendall(b"N")


def without_options(packet: bytes) -> bytes:
    """The protocol's version, then names and values, each ended by a zero byte."""
    version, words = packet[:4], packet[4:].rstrip(b"\0").split(b"\0")
    kept = [word for pair in zip(words[::2], words[1::2], strict=True) if pair[0] != b"options" for word in pair]
    body = version + b"".join(word + b"\0" for word in kept) + b"\0"
    return (len(body) + 4).to_bytes(4) + body


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until one of them is closed."""
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
