"""Answers as a llama-server does on its own port. Runs as a file called `runner`."""

import http.server
import sys

HEALTH = b'{"status":"ok"}'
SLOTS = b'[{"id":0,"id_task":3,"n_ctx":4096,"is_processing":false}]'


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(HEALTH if self.path == "/health" else SLOTS)

    def log_message(self, *words: object) -> None:
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
