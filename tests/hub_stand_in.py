"""A stand-in for the hub's HTTP API on this machine: what pushing, reading and looking into a model repository need.

Written from the requests that huggingface_hub makes. Small files travel inside the commit; the names in `large` go
through the large file storage, as weights do on the real hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from s4eca.saved.card import LICENCES

Files = dict[str, bytes]


@dataclass
class Repository:
    """Branches -> commits -> files."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: Files, message: str = "") -> str:
        text = f"{len(self.commits)}{branch}{sorted(files)}"
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        self.messages.append(message)
        return sha

    def find(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)


class HubStandIn(ThreadingHTTPServer):
    """The server; `with` starts and stops it.

    Attributes:
        accounts: token -> user.
        large: pattern of the names that go through the large file storage.
        cut_after: bytes of a large file after which the connection breaks.
        cuts: how many more times it breaks.
        status: when set, every request is answered with it.
        asked: method and path of every request.
        sent: bytes of file content sent.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.accounts = {"hf_ann": "ann", "hf_bob": "bob"}
        self.large = "*.safetensors"
        self.cut_after = 1000
        self.cuts = 0
        self.status: int | None = None
        self.asked: list[tuple[str, str]] = []
        self.sent = 0
        self.storage: Files = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> HubStandIn:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *what: Any) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection cut on purpose is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubStandIn

    def log_message(self, *what: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path, self.query = unquote(url.path), parse_qs(url.query)
        self.server.asked.append((self.command, path))
        self.body = self._read_body()
        if self.server.status is not None:
            return self._refuse(self.server.status, "", "out of order")
        if path == "/api/repos/create":
            return self._create(json.loads(self.body))
        if path == "/api/validate-yaml":
            return self._validate(json.loads(self.body)["content"])
        if path.startswith("/storage/"):
            self.server.storage[path.rpartition("/")[2]] = self.body
            return self._json({})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(self.body))
        return self._of_a_repository(path)

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    @property
    def _user(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return self.server.accounts.get(token) if token else None

    def _of_a_repository(self, path: str) -> None:
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        name, rest = "/".join(parts[:2]), parts[2:]
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and self._user != parts[0]):
            return self._refuse(404 if self._user else 401, "RepoNotFound", "Repository not found")
        writes = self.command == "POST" and rest[0] != "paths-info"
        if writes and self._user != parts[0]:
            return self._refuse(403 if self._user else 401, "", f"you may not write to {name}")
        if writes and rest[0] == "branch":
            return self._branch(repository, rest[1])
        sha = repository.find(rest[1] if len(rest) > 1 else "main")
        if sha is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {rest[1]}")
        if writes:
            return {"preupload": self._preupload, "commit": self._commit}[rest[0]](name, repository, rest[1], sha)
        if api:
            return self._tell(name, repository, sha, tree="tree" in rest)
        return self._send_file(repository, sha, "/".join(rest[2:]))

    def _create(self, wanted: dict[str, Any]) -> None:
        owner, name = wanted["organization"], wanted["name"]
        if self._user is None:
            return self._refuse(401, "", "Invalid username or password.")
        if self._user != owner:
            return self._refuse(403, "", f"You don't have the rights to create a model under the namespace {owner!r}")
        full = f"{owner}/{name}"
        if full in self.server.repositories:
            taken = {"error": "You already created this model repo", "url": f"{self.server.endpoint}/{full}"}
            return self._json(taken, status=409)
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        repository = self.server.repositories[full] = Repository(private=private)
        repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        self._json({"url": f"{self.server.endpoint}/{full}"})

    def _validate(self, content: str) -> None:
        import yaml

        licence = yaml.safe_load(content.split("---")[1]).get("license")
        if licence in LICENCES:
            return self._json({"errors": [], "warnings": []})
        self._json({"errors": [{"message": f'"license" is {licence!r}'}], "warnings": []}, status=400)

    def _branch(self, repository: Repository, name: str) -> None:
        if name in repository.branches:
            return self._refuse(409, "", "Reference already exists")
        repository.branches[name] = repository.branches["main"]
        self._json({}, status=201)

    def _preupload(self, name: str, repository: Repository, branch: str, sha: str) -> None:
        mode = {True: "lfs", False: "regular"}
        paths = [item["path"] for item in json.loads(self.body)["files"]]
        files = [{"path": p, "uploadMode": mode[self._is_large(p)], "shouldIgnore": False} for p in paths]
        self._json({"files": files})

    def _batch(self, wanted: dict[str, Any]) -> None:
        def action(item: dict[str, Any]) -> dict[str, Any]:
            return {**item, "actions": {"upload": {"href": f"{self.server.endpoint}/storage/{item['oid']}"}}}

        self._json({"transfer": "basic", "objects": [action(item) for item in wanted["objects"]]})

    def _commit(self, name: str, repository: Repository, branch: str, sha: str) -> None:
        files, message = dict(repository.commits[sha]), ""
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.server.storage[value["oid"]]
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        new = repository.commit(branch, files, message)
        self._json({"commitUrl": f"{self.server.endpoint}/{name}/commit/{new}", "commitOid": new})

    def _tell(self, name: str, repository: Repository, sha: str, *, tree: bool) -> None:
        files = repository.commits[sha]
        if not tree:
            siblings = [{"rfilename": path} for path in sorted(files)]
            about = {"id": name, "modelId": name, "sha": sha, "private": repository.private, "siblings": siblings}
            return self._json(about)
        entries = []
        for path, content in sorted(files.items()):
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _blob(content)}
            if self._is_large(path):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
            entries.append(entry)
        self._json(entries)

    def _send_file(self, repository: Repository, sha: str, path: str) -> None:
        if repository.gated:
            return self._refuse(403, "GatedRepo", "Access to this model is restricted")
        content = repository.commits[sha].get(path)
        if content is None:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        large = self._is_large(path)
        headers = {
            "X-Repo-Commit": sha,
            "ETag": f'"{hashlib.sha256(content).hexdigest() if large else _blob(content)}"',
            "Accept-Ranges": "bytes",
        }
        status, part = 200, content
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1 if last else len(content), len(content))
            status, part = 206, content[int(first) : end]
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
        cut = self.server.cut_after if large and self.server.cuts and self.command == "GET" else None
        self.server.cuts -= cut is not None
        self._send(status, part, headers, cut=cut)
        self.server.sent += len(part) if self.command == "GET" else 0

    def _is_large(self, path: str) -> bool:
        return fnmatch(path, self.server.large)

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self._json({"error": message}, status=status, headers=headers)

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
            if cut is not None:
                self.close_connection = True


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
