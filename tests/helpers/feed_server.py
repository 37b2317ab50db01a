"""A release feed, a server of installers and a proxy on this machine, each as good or as bad as the test wants.

Owns real HTTP, with and without TLS. Must not know what a release is.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

Answer: TypeAlias = Callable[[BaseHTTPRequestHandler], None]


class FeedServer:
    """Answers as `routes` say, by path (or by whole address, as a proxy is asked); `asked` holds path and headers.

    Args:
        certificate: file with key and certificate; without it there is no TLS.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.routes: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                self.close_connection = True
                outer.routes.get(self.path, status(404))(self)

            def do_CONNECT(self) -> None:
                outer.asked.append((f"CONNECT {self.path}", dict(self.headers.items())))
                self.close_connection = True
                outer.routes.get(f"CONNECT {self.path}", status(502))(self)

            def end_headers(self) -> None:
                if self.command != "CONNECT":
                    self.send_header("Connection", "close")
                super().end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing: `asked` is the log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients leave as they like
        self.port = int(self._server.server_address[1])
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="feed-server")
        self._thread.start()

    def __enter__(self) -> FeedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for path, _ in self.asked]


def body(data: bytes, code: int = 200, *, stated: int | None = None, **headers: str) -> Answer:
    """A whole answer; `stated` is a length that is not kept."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(data) if stated is None else stated))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def ranges(data: bytes, *cuts: int) -> Answer:
    """A file that can be gone on with; each of `cuts` ends one answer after so many bytes of it."""
    left = list(cuts)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        part = data[start:]
        handler.send_response(206 if found else 200)
        handler.send_header("Content-Length", str(len(part)))
        if found:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        handler.wfile.write(part[: left.pop(0)] if left else part)

    return answer


def redirect(url: str) -> Answer:
    """To another address."""
    return body(b"", 302, Location=url)


def status(code: int, **headers: Any) -> Answer:
    """An answer without content."""
    return body(b"", code, **headers)


def drips(gone: threading.Event, pause_s: float) -> Answer:
    """A byte, a pause, a byte, until `gone` or the client has left."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not gone.wait(pause_s):
            handler.wfile.write(b" ")

    return answer


def tunnel(port: int) -> Answer:
    """What a proxy does for CONNECT: bytes to and fro, whatever host was named."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        with socket.create_connection(("127.0.0.1", port)) as far:
            handler.send_response(200)
            handler.end_headers()
            ends = {handler.connection: far, far: handler.connection}
            while True:
                for end in select.select([*ends], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)

    return answer


def make_certificate(folder: Path, *names: str) -> Path:
    """Key and certificate for names and addresses, signed by itself: who trusts the file trusts the server."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test feed")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_alternative(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "feed.pem"
    form = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    file.write_bytes(key.private_bytes(form, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(form))
    return file


def _alternative(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
