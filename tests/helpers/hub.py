"""Local server with the part of the Hugging Face hub that clients use."""

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

from helpers.servers import remove_proxies


class Hub:
    """Repositories in memory: commits, branches, small and large files."""

    def __init__(self):
        self.repositories, self.large, self.requests, self.token = {}, {}, [], None
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                hub.respond(self)

            do_HEAD = do_POST = do_PUT = do_GET

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def respond(self, request):
        length = int(request.headers.get("Content-Length") or 0)
        body, path = request.rfile.read(length), unquote(request.path.partition("?")[0])
        self.requests.append((request.command, path))
        is_signed = path.startswith("/upload/")  # the address of an upload needs no token
        if (
            not is_signed
            and self.token is not None
            and request.headers.get("Authorization") != f"Bearer {self.token}"
        ):
            return self.send(request, {"error": "Invalid username or password."}, 401)
        for pattern, method in self.ROUTES.items():
            if found := re.fullmatch(pattern, path):
                return method(self, request, body, *found.groups())
        return self.send(request, {"error": "not found"}, 404)

    def send(self, request, content, status=200, headers=()):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        request.send_response(status)
        for name, value in [("Content-Length", str(len(content))), *headers]:
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    def create(self, request, body):
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
        is_new = name not in self.repositories
        if is_new:
            self.repositories[name] = {
                "private": wanted.get("private", wanted.get("visibility") == "private"),
                "commits": {},
                "main": None,
            }
        self.send(request, {"url": f"{self.url}/{name}", "name": name}, 200 if is_new else 409)

    def validate(self, request, body):
        self.send(request, {"errors": [], "warnings": []})

    def preupload(self, request, body, name, revision):
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self.send(request, {"files": files})

    def lfs(self, request, body, name):
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.url}/upload/{one['oid']}", "header": {}}}}
            for one in json.loads(body)["objects"]
        ]
        self.send(
            request, {"transfer": "basic", "objects": objects}, 200, [("Content-Type", "application/json")]
        )

    def upload(self, request, body, oid):
        self.large[oid] = body
        self.send(request, b"")

    def commit(self, request, body, name, revision):
        repository = self.repositories[name]
        files = dict(repository["commits"].get(repository.get(revision), {}))
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
        oid = hashlib.sha1(repr(sorted(files.items())).encode(), usedforsecurity=False).hexdigest()
        repository["commits"][oid] = files
        repository[revision] = oid
        self.send(
            request, {"success": True, "commitOid": oid, "commitUrl": f"{self.url}/{name}/commit/{oid}"}
        )

    def resolve(self, request, body, name, revision, file):
        repository = self.repositories.get(name)
        if repository is None:
            return self.send(request, b"", 401, [("X-Error-Code", "RepoNotFound")])
        oid = revision if revision in repository["commits"] else repository.get(revision)
        if oid is None:
            return self.send(request, b"", 404, [("X-Error-Code", "RevisionNotFound")])
        if file not in repository["commits"][oid]:
            return self.send(request, b"", 404, [("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", oid)])
        content = repository["commits"][oid][file]
        tag = hashlib.sha256(content).hexdigest()
        self.send(request, content, 200, [("X-Repo-Commit", oid), ("ETag", f'"{tag}"')])

    ROUTES = {
        "/api/repos/create": create,
        "/api/validate-yaml": validate,
        "/api/models/([^/]+/[^/]+)/preupload/(.+)": preupload,
        r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch": lfs,
        "/upload/(.+)": upload,
        "/api/models/([^/]+/[^/]+)/commit/(.+)": commit,
        "/([^/]+/[^/]+)/resolve/([^/]+)/(.+)": resolve,
    }


@contextmanager
def start_hub():
    """Start a local hub, and shut it down afterwards."""
    hub = Hub()
    try:
        yield hub
    finally:
        hub.http.shutdown()
        hub.http.server_close()


def connect_client(monkeypatch, url, cache):
    """Connect the hub client to a server, with a cache folder."""
    import huggingface_hub

    remove_proxies(monkeypatch)
    getattr(huggingface_hub, "close_session", int)()  # a new client reads the new proxy
    files = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"  # HF_ENDPOINT sets it at import
    for name, value in {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": files,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
