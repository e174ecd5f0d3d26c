"""A stand-in for the Hub on loopback: what the real client asks of its HTTP interface.

Data sets live in memory, each with its commits, whose files are replaced together or not at all.
Files of tables go the way of large ones, as they do there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_owner"
READER = "hf_of_a_reader"
LARGE = (".parquet", ".bin")


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()


@dataclass
class Repository:
    """A data set: its commits from the first, path -> content of each."""

    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def commit(self, files: dict[str, bytes]) -> str:
        sha = secrets.token_hex(20)
        self.commits.append((sha, files))
        return sha

    @property
    def head(self) -> tuple[str, dict[str, bytes]]:
        return self.commits[-1]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.head
        return next((commit for commit in self.commits if commit[0] == revision), None)


@dataclass
class Hub:
    """What the stand-in has, what it was asked, and what it shall fail at.

    faults  (method, part of the path) -> statuses of its next answers; 0 breaks the connection off
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    before_commit: list[Any] = field(default_factory=list)

    def add(self, name: str, files: dict[str, bytes], *, private: bool = False) -> str:
        """A data set with files that no push has sent; the commit."""
        repository = self.repositories.setdefault(name, Repository(private))
        return repository.commit(files)

    def files(self, name: str) -> dict[str, bytes]:
        return self.repositories[name].head[1]

    def asked(self, method: str, part: str) -> int:
        """How many requests there were."""
        return sum(each == method and part in path for each, path in self.requests)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((method, path))
        for (of, part), statuses in self.hub.faults.items():
            if of == method and part in path and statuses:
                if (status := statuses.pop(0)) == 0:
                    self.rfile.read(min(100, int(self.headers.get("Content-Length", 0))))
                    self.close_connection = True
                    self.connection.close()
                    return
                self._body()
                self._json({"error": f"as the test asks for: {status}"}, status)
                return
        for verb, shape, answer in ROUTES:
            if verb == method and (match := re.fullmatch(shape, path)):
                answer(self, *match.groups())
                return
        raise AssertionError(f"the stand-in knows no {method} {path}")

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, content: Any, status: int = 200, **headers: str) -> None:
        known = {name.replace("_", "-"): value for name, value in headers.items()}
        self._send(
            json.dumps(content).encode(), status, {"Content-Type": "application/json"} | known
        )

    def _refuse(self, status: int, code: str = "", message: str = "") -> None:
        headers = {"X_Error_Code": code} if code else {}
        self._json({"error": message}, status, X_Error_Message=message, **headers)

    @property
    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _seen(self, name: str) -> Repository | None:
        """The data set, which is refused to those who may not see it."""
        repository = self.hub.repositories.get(name)
        if self._token not in ("", TOKEN, READER):
            self._refuse(401, message="Invalid credentials in Authorization header")
        elif repository is None or (repository.private and self._token != TOKEN):
            self._refuse(404, "RepoNotFound", "Repository not found")
        else:
            return repository
        return None

    def _may_write(self) -> bool:
        if self._token != TOKEN:
            self._refuse(403, message="no right to write")
        return self._token == TOKEN

    def create(self) -> None:
        asked = json.loads(self._body())
        name = f"{asked['organization']}/{asked['name']}"
        assert asked["type"] == "dataset"
        if not self._may_write():
            return
        if name in self.hub.repositories:
            self._json({"error": "it exists", "url": f"{self.hub.url}/datasets/{name}"}, 409)
            return
        self.hub.add(
            name,
            {".gitattributes": b"*.parquet filter=lfs\n"},
            private=asked["visibility"] == "private",
        )
        self._json({"url": f"{self.hub.url}/datasets/{name}"})

    def info(self, name: str, revision: str | None) -> None:
        repository = self._seen(name)
        if repository is None:
            return
        commit = repository.at(revision or "main")
        if commit is None:
            self._refuse(404, "RevisionNotFound", "no such revision")
            return
        siblings = [{"rfilename": path} for path in commit[1]]
        self._json(
            {"id": name, "sha": commit[0], "private": repository.private, "siblings": siblings}
            | {"tags": [], "downloads": 0, "likes": 0, "disabled": False, "gated": False}
        )

    def tree(self, name: str, revision: str, _: str | None) -> None:
        if (repository := self._seen(name)) is None:
            return
        commit = repository.at(revision)
        assert commit is not None
        self._json([_entry(path, content) for path, content in commit[1].items()])

    def paths_info(self, name: str, revision: str) -> None:
        if (repository := self._seen(name)) is None:
            return
        commit = repository.at(revision)
        assert commit is not None
        paths = json.loads(self._body())["paths"]
        self._json([_entry(path, commit[1][path]) for path in paths if path in commit[1]])

    def validate(self) -> None:
        asked = json.loads(self._body())
        license_ = re.search(r"^license: (.*)$", asked["content"], flags=re.MULTILINE)
        if license_ and license_[1] not in ("mit", "cc-by-4.0"):
            self._json({"errors": [{"message": f"no license {license_[1]}"}], "warnings": []}, 400)
            return
        self._json({"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        asked = json.loads(self._body())
        repository = self._seen(name)
        if repository is None or not self._may_write():
            return
        assert revision == "main"
        files = []
        for each in asked["files"]:
            old = repository.head[1].get(each["path"])
            large = each["path"].endswith(LARGE)
            oid = None
            if old is not None:
                oid = hashlib.sha256(old).hexdigest() if large else git_hash(old)
            files.append(
                {"path": each["path"], "uploadMode": "lfs" if large else "regular"}
                | {"shouldIgnore": False, "oid": oid}
            )
        self._json({"files": files})

    def batch(self, name: str) -> None:
        asked = json.loads(self._body())
        if self._seen(name) is None or not self._may_write():
            return
        objects = []
        for each in asked["objects"]:
            known = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.hub.large:
                known["actions"] = {"upload": {"href": f"{self.hub.url}/large/{each['oid']}"}}
            objects.append(known)
        self._json({"transfer": "basic", "objects": objects})

    def put_large(self, oid: str) -> None:
        content = self._body()
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.large[oid] = content
        self._json({})

    def commit(self, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in self._body().splitlines()]
        repository = self._seen(name)
        if repository is None or not self._may_write():
            return
        for act in self.hub.before_commit:
            act()
        header, *changes = lines
        assert (header["key"], revision) == ("header", "main")
        if header["value"]["parentCommit"] != repository.head[0]:
            self._refuse(412, message="A commit has happened since")
            return
        files = dict(repository.head[1])
        for change in changes:
            value = change["value"]
            if change["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert change["key"] == "lfsFile"
                files[value["path"]] = self.hub.large[value["oid"]]
        sha = repository.commit(files)
        self._json({"commitUrl": f"{self.hub.url}/datasets/{name}/commit/{sha}", "commitOid": sha})

    def resolve(self, name: str, revision: str, path: str) -> None:
        if (repository := self._seen(name)) is None:
            return
        commit = repository.at(revision)
        if commit is None or path not in commit[1]:
            self._refuse(404, "EntryNotFound", "no such file")
            return
        content = commit[1][path]
        entry = _entry(path, content)
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        self._send(content, 200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit[0]})


def _entry(path: str, content: bytes) -> dict[str, Any]:
    """A file as trees list it."""
    entry = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
    if path.endswith(LARGE):
        oid = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 130}
    return entry


NAME = r"([^/]+/[^/]+)"
ROUTES: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("GET", "/api/agent-harnesses", lambda handler: handler._refuse(404)),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("GET", rf"/api/datasets/{NAME}(?:/revision/(.+))?", Handler.info),
    ("GET", rf"/api/datasets/{NAME}/tree/([^/]+)(/.*)?", Handler.tree),
    ("POST", rf"/api/datasets/{NAME}/paths-info/(.+)", Handler.paths_info),
    ("POST", rf"/api/datasets/{NAME}/preupload/(.+)", Handler.preupload),
    ("POST", rf"/api/datasets/{NAME}/commit/(.+)", Handler.commit),
    ("POST", rf"/datasets/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/large/(\w+)", Handler.put_large),
    ("GET", rf"/datasets/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
)


@contextmanager
def hub_server() -> Iterator[Hub]:
    """The stand-in while it listens at `url`."""
    hub = Hub()

    class OfThisHub(Handler):
        pass

    OfThisHub.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), OfThisHub)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
