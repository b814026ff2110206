"""HTTP server on 127.0.0.1 that serves files from memory and simulates faults."""

from __future__ import annotations

import http.server
import re
import ssl
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Fault:
    """Fault of one request.

    Attributes:
      status: status of a response without content.
      headers: extra headers of that response.
      cut_after: number of bytes of the content after which the connection is closed.
      stall: seconds to wait before the content.
      until: event to wait for before the content.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    stall: float = 0.0
    until: threading.Event | None = None


class FileServer:
    """Server of files with byte ranges; a context manager that shuts down at the end.

    Attributes:
      files: contents by path, such as "/models/x.tar.gz".
      faults: faults of the next requests, in order.
      tells_size: whether responses have a length; otherwise the connection is closed at their end.
      knows_ranges: whether the server supports byte ranges.
      headers: extra headers of each response with content.
      block: number of bytes sent at once.
      pause: seconds between two blocks.
      requests: path and `Range` header of each request so far; None for the whole file.
      url: URL of the server.
    """

    def __init__(self, files: dict[str, bytes], certificate: str | None = None):
        """Start the server, with https if it gets the path of a certificate with its key."""
        self.files = dict(files)
        self.faults = []
        self.tells_size = True
        self.knows_ranges = True
        self.headers = {}
        self.block = 1 << 16
        self.pause = 0.0
        self.requests = []
        handler = type("Handler", (_Handler,), {"files": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.files
        byte_range = self.headers.get("Range")
        server.requests.append((self.path, byte_range))
        fault = server.faults.pop(0) if server.faults else Fault()
        content = server.files.get(self.path)
        if fault.status or content is None:
            self.send_response(fault.status or 404)
            for header, value in fault.headers.items():
                self.send_header(header, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        etag = f'"{abs(hash(content))}"'
        start = 0
        if byte_range and server.knows_ranges and self.headers.get("If-Range", etag) == etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", byte_range).group(1))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if server.tells_size:
            self.send_header("Content-Length", str(len(content) - start))
        self.close_connection |= not server.tells_size
        self.send_header("ETag", etag)
        for header, value in server.headers.items():
            self.send_header(header, value)
        self.end_headers()
        time.sleep(fault.stall)
        if fault.until:
            fault.until.wait()
        self._send(content[start:], fault.cut_after)

    def _send(self, content, cut_after):
        try:
            for begin in range(0, len(content[:cut_after]), self.files.block):
                self.wfile.write(content[:cut_after][begin : begin + self.files.block])
                self.wfile.flush()
                time.sleep(self.files.pause)
        except ConnectionError:
            pass  # closed by the client
        self.close_connection |= cut_after is not None

    def log_message(self, *_):
        pass
