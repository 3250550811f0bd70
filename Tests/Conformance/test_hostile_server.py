"""Servers that answer without end, hardly at all, or not with what was asked."""

import socket
import threading
import time

import pytest


class RawServer:
    """Answers each connection by a function of its request's first line and the socket."""

    def __init__(self, answer):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.sent = 0
        self.answer = answer
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.handle, args=(connection,), daemon=True).start()

    def handle(self, connection):
        with connection:
            try:
                line = connection.recv(65536).split(b"\r\n")[0]
                if b"root.json" in line:
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                else:
                    self.answer(self, connection)
            except OSError:
                pass

    def send(self, connection, data):
        connection.sendall(data)
        self.sent += len(data)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/metadata/"


def endless(server, connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while server.sent < 256 << 20:
        server.send(connection, b" " * 65536)


def announced_too_large(server, connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
    while server.sent < 256 << 20:
        server.send(connection, b" " * 65536)


def drip(server, connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    for _ in range(120):
        server.send(connection, b" ")
        time.sleep(1)


def silent(server, connection):
    time.sleep(120)


def redirect(server, connection):
    connection.sendall(
        f"HTTP/1.1 302 Found\r\nLocation: {server.url}elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    )


def broken(server, connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n{")


def nonsense(server, connection):
    connection.sendall(b"\x00\xff\x00\xff" * 100)


def unavailable(server, connection):
    connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    "answer, seconds",
    [(endless, 15), (announced_too_large, 15), (drip, 45), (silent, 55), (redirect, 15), (broken, 15), (nonsense, 15),
     (unavailable, 15)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_hostile_server_is_given_up_on(setup, answer, seconds):
    client, repo = setup()
    server = RawServer(answer)
    client.metadata_url = server.url
    start = time.monotonic()
    assert not client.refresh()
    assert time.monotonic() - start < seconds, client.errors
    # Socket buffers take a few megabytes more than the client reads.
    assert server.sent < 32 << 20
    assert client.versions() == {"root": 1}
    server.socket.close()
