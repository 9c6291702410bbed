"""The page of a folder while its runs go on, on the loopback address alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bilevel.pages._entries import collect
from bilevel.pages._page import page_html

HOST = "127.0.0.1"
FILES = ("config.json", "metrics.csv", "summary.json", "failure.txt")
"""Files whose changes change the page."""


class Watcher:
    """A server of one folder's page, which answers on the loopback address, with a token, and nothing else.

    Args:
        folder: the folder, which may still be empty.
        port: the port; 0: one that is free.
        rest: times the duration of building a page for which it is then not built again, 0 or more.

    Raises:
        ValueError: there is no such folder.
        OSError: the port is taken.

    >>> Path("runs").mkdir()
    >>> with Watcher(Path("runs")) as watcher:
    ...     watcher.address
    'http://127.0.0.1:...'
    """

    def __init__(self, folder: Path, port: int = 0, *, rest: float = 5.0) -> None:
        if not folder.is_dir():
            raise ValueError(f"There is no folder {folder}.")
        self.folder, self.rest = folder, rest
        self.token = secrets.token_urlsafe(24)
        self._lock = threading.Lock()
        self._page: tuple[str, bytes] = "", b""
        self._rests_until = 0.0
        self._server = ThreadingHTTPServer((HOST, port), self._handler())
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        """Address of the page, with its token."""
        return f"http://{HOST}:{self._server.server_port}/?token={self.token}"

    def serve(self) -> None:
        """Answer until `close`, or an exception such as KeyboardInterrupt."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Stop answering."""
        self._server.server_close()

    def shutdown(self) -> None:
        """End `serve`, which runs in another thread."""
        self._server.shutdown()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def state(self) -> str:
        """Text that changes when the files of a run do; that of the last page while the server rests."""
        if time.monotonic() < self._rests_until:
            return self._page[0]
        seen = hashlib.sha256()
        for name in FILES:
            for path in sorted(self.folder.rglob(name)):
                try:
                    found = path.stat()
                except OSError:  # removed meanwhile
                    continue
                seen.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return seen.hexdigest()

    def page(self) -> bytes:
        """The page of the folder; built again if a run has changed, unless the server rests."""
        with self._lock:
            state = self.state()
            if self._page[0] != state:
                began = time.monotonic()
                content = collect([self.folder], lenient=True)
                title = self.folder.resolve().name
                self._page = state, page_html(content, title=title, clips=False, live=state).encode()
                now = time.monotonic()
                self._rests_until = now + self.rest * (now - began)
            return self._page[1]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        watcher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = urlsplit(self.path)
                given = parse_qs(asked.query).get("token", [""])[0]
                # a name other than the loopback address's would be a page of somebody else, rebound to it
                host = self.headers.get("Host", "").rpartition(":")[0]
                if host not in (HOST, "localhost") or not hmac.compare_digest(
                    given.encode(), watcher.token.encode()
                ):
                    self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"The address needs its token.\n")
                elif asked.path == "/":
                    self._answer(HTTPStatus.OK, "text/html", watcher.page())
                elif asked.path == "/state":
                    self._answer(HTTPStatus.OK, "text/plain", watcher.state().encode())
                else:
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"There is one page only.\n")

            def _answer(self, status: HTTPStatus, kind: str, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("X-Content-Type-Options", "nosniff")
                self.send_header("Referrer-Policy", "no-referrer")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                """Requests are not printed: their lines hold the token."""

        return Handler
