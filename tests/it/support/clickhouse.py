"""The ClickHouse engine with the part of ClickHouse's HTTP interface that a test needs.

Usage: clickhouse.py PORT DIRECTORY [PASSWORD]

chdb is the engine of ClickHouse as a library, without its servers. This program answers as
src/Server/HTTPHandler.cpp does: settings in the query of the URL, the query in the parameter
`query` or in the body, bodies with a Content-Encoding, exceptions with their status, code and text.
With PASSWORD, requests need it in X-ClickHouse-Key. After POST /lose?inserts=N, the answers to the
next N inserts are lost: each is executed, and then its connection is closed.

Ends when standard input is closed, so that it never outlives the test that started it. The tables
are in DIRECTORY and survive a kill.
"""

import gzip
import http.server
import io
import json
import os
import re
import sys
import threading
import urllib.parse

from chdb import session

# src/Server/HTTP/exceptionCodeToHTTPStatus.cpp
STATUS = {194: 401, 192: 403, 193: 403, 516: 403, 512: 403, 497: 403, 229: 413, 48: 501, 209: 503,
          76: 503, 439: 503, 159: 408}
BAD_REQUEST = {36, 427, 6, 25, 26, 38, 41, 72, 441, 675, 676, 27, 376, 15, 44, 37, 123, 8, 167, 168,
               223, 62, 117, 53, 321}
NOT_FOUND = {60, 46, 47, 50, 56, 81, 115, 152, 63, 73, 336, 78, 511}

# Parameters that are not settings of a query.
RESERVED = {"query", "database", "user", "password", "wait_end_of_query", "buffer_size",
            "send_progress_in_http_headers"}

lock = threading.Lock()
engine = None
lost = 0


class Failure(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code, self.text = code, text


def execute(query, body, settings):
    """Runs a query with settings, as a request does."""
    settings = ", ".join(f"{key} = {quoted(value)}" for key, value in settings)
    if insert := re.fullmatch(r"(INSERT INTO .*) (FORMAT \w+)\s*", query, re.DOTALL):
        clause = f" SETTINGS {settings}" if settings else ""
        query = f"{insert[1]}{clause} {insert[2]}\n"
    elif settings:
        raise NotImplementedError("settings of other queries")
    try:
        with lock:
            return engine.query(query.encode() + body if body else query, "TabSeparated").bytes()
    except Exception as error:
        text = str(error)
        # The library repeats the beginning of the text.
        text = re.sub(r"^(Code: \d+\. DB::Exception: )(?=Code: )", "", text)
        found = re.match(r"Code: (\d+)", text)
        raise Failure(int(found[1]) if found else 1002, text) from error


def quoted(value):
    if re.fullmatch(r"\d+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def decoded(body, encoding):
    if encoding == "gzip":
        try:
            return gzip.decompress(body)
        except (EOFError, OSError) as error:
            raise Failure(354, f"Code: 354. DB::Exception: inflate failed: {error}") from error
    if encoding == "zstd":
        import pyarrow
        return pyarrow.CompressedInputStream(io.BytesIO(body), "zstd").read()
    return body


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global lost
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if len(sys.argv) > 3 and self.headers.get("X-ClickHouse-Key") != sys.argv[3]:
                user = self.headers.get("X-ClickHouse-User", "default")
                raise Failure(516, f"Code: 516. DB::Exception: {user}: Authentication failed: "
                              "password is incorrect, or there is no user with such name. "
                              "(AUTHENTICATION_FAILED) (version 26.9.2.1)")
            url = urllib.parse.urlsplit(self.path)
            parameters = urllib.parse.parse_qsl(url.query)
            if url.path == "/lose":
                lost = int(dict(parameters)["inserts"])
                return self.answer(200, b"")
            body = decoded(body, self.headers.get("Content-Encoding"))
            query = dict(parameters).get("query")
            # The last of repeated settings counts.
            settings = {key: value for key, value in parameters if key not in RESERVED}.items()
            if not query:
                query, body = body.decode(), b""
            result = execute(query, body, settings)
            if lost > 0 and query.startswith("INSERT"):
                lost -= 1
                self.close_connection = True
                return
            self.answer(200, result)
        except Failure as failure:
            code = failure.code
            other = 400 if code in BAD_REQUEST else 404 if code in NOT_FOUND else 500
            status = STATUS.get(code, other)
            self.answer(status, failure.text.encode() + b"\n", code)

    def answer(self, status, body, code=None):
        self.send_response(status)
        self.send_header("X-ClickHouse-Query-Id", "0")
        self.send_header("X-ClickHouse-Summary", json.dumps({"read_rows": "0"}))
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def end_with_the_test():
    sys.stdin.read()
    os._exit(0)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64


engine = session.Session(sys.argv[2])
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
threading.Thread(target=end_with_the_test, daemon=True).start()
print("ready", flush=True)
server.serve_forever()
