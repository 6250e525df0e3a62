"""Serves ClickHouse's own engine by the part of its HTTP protocol that Shoal uses, for tests.

Usage: server.py DIRECTORY PORT USER PASSWORD

The engine is the one of chdb, in this process; the directory outlives it. Statements run one
after the other. Settings of a request are set before it, but those that are HTTP's own.
"""

import gzip
import http.server
import re
import sys
import threading
import urllib.parse

from chdb import session

DIRECTORY, PORT, USER, PASSWORD = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
HTTP_ONLY = {"wait_end_of_query", "cancel_http_readonly_queries_on_client_close", "enable_http_compression"}

engine = session.Session(DIRECTORY)
turn = threading.Lock()
now = {}  # what is set, which takes time


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def run(query, statement):
    with turn:
        database = query.pop("database", "default")
        if not re.fullmatch(r"\w+", database):
            raise RuntimeError("Code: 81. DB::Exception: no such database")
        engine.query(f"USE {database}")
        for name, value in query.items():
            if name not in HTTP_ONLY and now.get(name) != value:
                engine.query(f"SET {name} = {quoted(value)}")
                now[name] = value
        return engine.query(statement, "JSONEachRow").bytes()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # one packet, or each answer waits for an acknowledgement

    def log_message(self, *_):
        pass

    def answer(self, status, body, code=None):
        if self.headers.get("Accept-Encoding") == "gzip" and status == 200:
            body = gzip.compress(body, 1)
        self.send_response(status)
        if self.headers.get("Accept-Encoding") == "gzip" and status == 200:
            self.send_header("Content-Encoding", "gzip")
        if code:
            self.send_header("X-ClickHouse-Exception-Code", code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, b"Ok.\n")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])) if "Content-Length" in self.headers else self.chunks()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.headers.get("X-ClickHouse-User") != USER or self.headers.get("X-ClickHouse-Key") != PASSWORD:
            self.answer(403, b"Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)", "516")
            return
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(self.path).query, keep_blank_values=True))
        statement = "\n".join(part for part in (query.pop("query", ""), body.decode()) if part)
        try:
            self.answer(200, run(query, statement))
        except Exception as e:  # whatever the engine refuses
            code = re.search(r"Code: (\d+)", str(e))
            self.answer(404 if code and code[1] in ("60", "81") else 500, str(e).encode(), code[1] if code else "1000")

    def chunks(self):
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


with Server(("127.0.0.1", PORT), Handler) as server:
    print("ready", server.server_address[1], flush=True)
    server.serve_forever()
