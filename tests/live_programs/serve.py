"""Answers as `ollama serve` does, and keeps one runner as its child. Runs as a file called `serve`."""

import http.server
import json
import os
import subprocess
import sys
import time
from pathlib import Path

MODEL = {
    "name": "tiny:latest", "model": "tiny:latest", "size": 1000, "size_vram": 0, "digest": "ab12",
    "expires_at": "2100-01-01T00:00:00Z", "context_length": 4096, "details": {"family": "llama"},
}  # fmt: skip
ANSWERS = {"/api/version": {"version": "0.13.5"}, "/api/ps": {"models": [MODEL]}, "/api/tags": {"models": [MODEL]}}
SHOWN = {
    "capabilities": ["completion"], "details": {"family": "llama"}, "model_info": {"llama.context_length": 32768},
}  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body: object, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path.startswith("/debug/pprof/goroutine"):
            self.answer("goroutine 1 [IO wait]:")
        else:
            self.answer(ANSWERS.get(self.path, {"error": "not found"}), 200 if self.path in ANSWERS else 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/show":
            self.answer(SHOWN)
            return
        with Path("generated.jsonl").open("a") as asked:
            asked.write(json.dumps(body) + "\n")
        if Path("hang").exists():
            time.sleep(3600)
        self.answer({"model": body["model"], "done": True, "done_reason": "length", "total_duration": 5_000_000})

    def log_message(self, *words: object) -> None:
        pass


if __name__ == "__main__":
    port = int(os.environ["OLLAMA_HOST"].rsplit(":", 1)[1])
    runner = [sys.executable, "runner", "--model", "/models/blobs/sha256-0a1b", "--port", sys.argv[1]]
    subprocess.Popen(runner)
    said = f'msg="Listening on 127.0.0.1:{port} (version 0.13.5)"'
    print(f"time=2026-11-21T09:00:00.000Z level=INFO source=routes.go:1 {said}", flush=True)
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
