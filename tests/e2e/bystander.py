#!/usr/bin/env python3
"""Somebody who only wants to be served while others attack: GETs, one after the other.

    bystander.py PORT SECONDS [PATH]

Each on a connection that is kept; a new one where it was closed. Prints JSON: the milliseconds of
each answer, and what went wrong.
"""

import http.client
import json
import sys
import time

port, seconds = int(sys.argv[1]), float(sys.argv[2])
path = sys.argv[3] if len(sys.argv) > 3 else "/ok"
millis, failed = [], []
connection = None
until = time.monotonic() + seconds
while time.monotonic() < until:
    begun = time.perf_counter()
    try:
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            failed.append(answer.status)
        if answer.will_close:
            connection = None
    except (OSError, http.client.HTTPException) as error:
        failed.append(repr(error))
        connection = None
        time.sleep(0.01)
    millis.append(1000 * (time.perf_counter() - begun))
print(json.dumps({"millis": millis, "failed": failed}))
