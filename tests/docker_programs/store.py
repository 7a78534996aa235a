"""A store as Chroma looks from outside: `python store.py FOLDER PORT`, with a database in its folder that it makes."""

import http.server
import json
import pathlib
import signal
import sqlite3
import sys

folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
database = sqlite3.connect(folder / "chroma.sqlite3", isolation_level=None)
database.execute("CREATE TABLE IF NOT EXISTS collections (name TEXT)")
COUNT = "/api/v2/tenants/default_tenant/databases/default_database/collections_count"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = {
            "/api/v2/heartbeat": lambda: {"nanosecond heartbeat": 1},
            COUNT: lambda: database.execute("SELECT count(*) FROM collections").fetchone()[0],
        }.get(self.path)
        self.answer(200 if found else 404, found() if found else {})

    def do_POST(self):
        name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["name"]
        database.execute("INSERT INTO collections VALUES (?)", (name,))
        segment = folder / f"segment-{name}"
        segment.mkdir(exist_ok=True)
        (segment / "data_level0.bin").write_bytes(name.encode() * 100)
        self.answer(200, {"name": name})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
