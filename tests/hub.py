"""A stand-in for the Hugging Face hub on the loopback: the routes that its own client calls, over real HTTP."""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_stand_in"


@dataclass
class Repo:
    private: bool
    gated: bool = False
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])
    lfs: set[str] = field(default_factory=set)

    @property
    def sha(self) -> str:
        return self.sha_of(len(self.commits) - 1)

    def sha_of(self, number: int) -> str:
        return hashlib.sha1(f"{number}{sorted(self.commits[number])}".encode()).hexdigest()

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of a revision and its files."""
        if revision == "main":
            return self.sha, self.commits[-1]
        shas = [self.sha_of(number) for number in range(len(self.commits))]
        return (revision, self.commits[shas.index(revision)]) if revision in shas else None


@dataclass
class Hub:
    """repos: by name. asked: method and path of every request. fails: a status that answers everything."""

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fails: int = 0

    def environment(self, home: Path, token: str | None = TOKEN) -> dict[str, str]:
        """Of a process that takes this for the hub."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        kept |= {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
        return kept | ({"HF_TOKEN": token} if token else {})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, content: Any = None, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def take(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(length)
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.fails:
            return self.answer(self.hub.fails)
        given = self.headers.get("Authorization")
        if given not in {None, f"Bearer {TOKEN}"} and not path.startswith("/lfs/"):
            return self.answer(401, X_Error_Message="Invalid credentials in Authorization header")
        for method, pattern, act in ROUTES:
            if method == self.command and (found := re.fullmatch(pattern, path)):
                return act(self, body, *found.groups())
        return self.answer(404)

    do_GET = do_HEAD = do_POST = do_PUT = take

    @property
    def known(self) -> bool:
        return "Authorization" in self.headers

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if not self.known or asked["organization"] != "me":
            return self.answer(403 if self.known else 401, X_Error_Message="You may not write there")
        status = 409 if name in self.hub.repos else 200
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.hub.repos.setdefault(name, Repo(private))
        return self.answer(status, {"url": f"{self.hub.endpoint}/{name}"})

    def validate(self, body: bytes) -> None:
        text = json.loads(body)["content"]
        good = re.match(r"---\n.*?\n---\n", text, re.DOTALL) is not None
        self.answer(200 if good else 400, {"errors": [] if good else [{"message": "no front matter"}], "warnings": []})

    def preupload(self, body: bytes, name: str) -> None:
        files = json.loads(body)["files"]
        modes = {True: "lfs", False: "regular"}
        large = re.compile(r".*\.(safetensors|onnx)")
        told = [
            {"path": f["path"], "uploadMode": modes[large.fullmatch(f["path"]) is not None], "shouldIgnore": False}
            for f in files
        ]
        self.answer(200, {"files": told})

    def batch(self, body: bytes, name: str) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.endpoint}/lfs/{one['oid']}"}}}
            for one in json.loads(body)["objects"]
        ]
        self.answer(200, {"transfer": "basic", "objects": objects})

    def put(self, body: bytes, oid: str) -> None:
        right = hashlib.sha256(body).hexdigest() == oid
        self.hub.objects |= {oid: body} if right else {}
        self.answer(200 if right else 400)

    def commit(self, body: bytes, name: str) -> None:
        repo = self.hub.repos[name]
        files = dict(repo.commits[-1])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
                repo.lfs.add(value["path"])
        repo.commits.append(files)
        self.answer(200, {"commitUrl": f"{self.hub.endpoint}/{name}/commit/{repo.sha}", "commitOid": repo.sha})

    def found(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Answers by itself where there is nothing to be found. As the hub does: strangers are not told of what is
        missing and what is private."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self.known):
            self.answer(404 if self.known else 401, X_Error_Code="RepoNotFound")
            return None
        if (files := repo.at(revision)) is None:
            self.answer(404, X_Error_Code="RevisionNotFound")
        return files

    def info(self, body: bytes, name: str, revision: str | None = None) -> None:
        if found := self.found(name, revision or "main"):
            names = [{"rfilename": path} for path in found[1]]
            repo = self.hub.repos[name]
            told = {"id": name, "modelId": name, "sha": found[0], "private": repo.private, "tags": [], "downloads": 0}
            self.answer(200, {**told, "likes": 0, "siblings": names})

    def tree(self, body: bytes, name: str, revision: str) -> None:
        if found := self.found(name, revision):
            self.answer(200, [self.entry(name, path, content) for path, content in found[1].items()])

    def entry(self, name: str, path: str, content: bytes) -> dict[str, Any]:
        oid = hashlib.sha1(content).hexdigest()
        told: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": oid}
        if path in self.hub.repos[name].lfs:
            sha = hashlib.sha256(content).hexdigest()
            told["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 130}
        return told

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        if (found := self.found(name, revision)) is None:
            return None
        if self.hub.repos[name].gated:
            return self.answer(403, X_Error_Code="GatedRepo", X_Error_Message="Access to this model is restricted")
        if path not in found[1]:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=found[0])
        entry = self.entry(name, path, found[1][path])
        tag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        return self.answer(200, found[1][path], ETag=f'"{tag}"', X_Repo_Commit=found[0])


_NAME = r"([\w.-]+/[\w.-]+)"
ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate),
    ("POST", rf"/api/models/{_NAME}/preupload/main", Handler.preupload),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/lfs/(\w+)", Handler.put),
    ("POST", rf"/api/models/{_NAME}/commit/main", Handler.commit),
    ("GET", rf"/api/models/{_NAME}", Handler.info),
    ("GET", rf"/api/models/{_NAME}/revision/(.+)", Handler.info),
    ("GET", rf"/api/models/{_NAME}/tree/(.+)", Handler.tree),
    ("HEAD", rf"/{_NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
    ("GET", rf"/{_NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
)


@contextmanager
def stand_in() -> Iterator[Hub]:
    hub = Hub()
    handler = type("Own", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        hub.endpoint = f"http://127.0.0.1:{running.server_address[1]}"
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield hub
        running.shutdown()
