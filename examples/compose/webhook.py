#!/usr/bin/env python3
"""Shows the alerts that Alertmanager sends: webhook.py [ADDRESS:]PORT

Prints a line for each, and lists the last hundred as JSON at /.
"""

import collections
import http.server
import json
import sys

SEEN = collections.deque(maxlen=100)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("Content-Length", "0"))
        for alert in json.loads(self.rfile.read(length))["alerts"]:
            line = {"receiver": self.path.strip("/"), "status": alert["status"]}
            line |= {
                "alertname": alert["labels"]["alertname"],
                "job": alert["labels"].get("job", ""),
            }
            line |= {"summary": alert["annotations"].get("summary", "")}
            SEEN.append(line)
            print("{receiver}: {status} {alertname}: {summary}".format(**line), flush=True)
        self.answer(b"")

    def do_GET(self):
        self.answer(json.dumps(list(SEEN)).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


address, _, port = sys.argv[1].rpartition(":")
http.server.ThreadingHTTPServer((address, int(port)), Handler).serve_forever()
