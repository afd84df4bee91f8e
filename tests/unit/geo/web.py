"""A server of a folder that keeps to byte ranges and counts what it sends; it can also fail, as servers do.

It is a process of its own: GDAL waits for an answer without letting another thread of Python run.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ASK = "/-/"  # what the test asks of the server


class Web:
    """A server, as a test sees it.

    Args:
        address: without a slash at the end.
        folder: what is served.
    """

    def __init__(self, address, folder):
        self.address, self.folder = address, folder

    def url(self, name):
        """Where a file of the folder is found."""
        return f"{self.address}/{name}"

    def take(self):
        """Bytes of bodies and the [method, path, status] of every request since the last time."""
        return self._ask({})

    def behave(self, **how):
        """From now on: `status` {path: code}, `cut` [paths that break off], `slow` seconds, `ranges` or none."""
        self._ask(how)

    def _ask(self, said):
        data = json.dumps(said).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.address + ASK, data=data, timeout=20) as answer:
            found = json.loads(answer.read())
        return found["sent"], found["asked"]


class Handler(BaseHTTPRequestHandler):
    """Answers by the folder and by `how` to behave."""

    protocol_version = "HTTP/1.1"
    folder = Path()
    how = {"status": {}, "cut": [], "slow": 0.0, "ranges": True}
    sent, asked = 0, []

    def log_message(self, *args):
        """Say nothing."""

    def do_POST(self):
        """What the test asks."""
        kind = type(self)
        kind.how.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        told = json.dumps({"sent": kind.sent, "asked": kind.asked}).encode()
        kind.sent, kind.asked = 0, []
        self._send(200, told, {}, count=False)

    def do_HEAD(self):
        """Headers alone."""
        self._answer()

    def do_GET(self):
        """A file, or a part of it."""
        self._answer()

    def _answer(self):
        path = self.path.partition("?")[0].lstrip("/")
        time.sleep(self.how["slow"])
        file = self.folder / path
        content = file.read_bytes() if file.is_file() else None
        code = self.how["status"].get(path, 404 if content is None else 200)
        if code != 200:
            return self._send(code, b"no", {})
        ranges, cut = self.how["ranges"], path in self.how["cut"]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if ranges else None
        headers = {"Accept-Ranges": "bytes"} if ranges else {}
        if asked is None:
            return self._send(200, content, headers, cut=cut)
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if first >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self._send(206, content[first : last + 1], headers, cut=cut)

    def _send(self, code, content, headers, *, cut=False, count=True):
        self.send_response(code)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        some = b"" if self.command == "HEAD" else content[: len(content) // 2] if cut else content
        with contextlib.suppress(OSError):
            self.wfile.write(some)
        if cut:
            self.close_connection = True
        if count:
            kind = type(self)
            kind.sent += len(some)
            kind.asked.append([self.command, self.path, code])


def calm(monkeypatch, web):
    """Nothing is tried again, no proxy is asked, and the server does what it should."""
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    web.behave(status={}, cut=[], slow=0.0, ranges=True)
    web.take()


@contextlib.contextmanager
def serve(folder):
    """A `Web` of a folder, on a port of its own."""
    command = [sys.executable, __file__, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield Web(f"http://127.0.0.1:{int(process.stdout.readline())}", Path(folder))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
