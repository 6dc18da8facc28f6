"""The app of the blog post: plain Flask, no metrics, unmodified to run behind the sidecar."""

import os
import time

from flask import Flask, Response, abort, request

app = Flask(__name__)

USERS = 1000


@app.get("/ruok")
def ruok():
    return "imok"


@app.get("/users/<int:user_id>")
def user(user_id):
    if user_id > USERS:
        abort(404)
    return {"id": user_id, "name": f"user {user_id}"}


@app.route("/slow", methods=["GET", "POST"])
def slow():
    print(f"slow begins in worker {os.getpid()}", flush=True)
    time.sleep(float(request.args.get("seconds", "1")))
    return "done"


@app.get("/fail")
def fail():
    raise RuntimeError("this path always fails")


@app.post("/upload")
def upload():
    size = 0
    while chunk := request.stream.read(64 * 1024):
        size += len(chunk)
    time.sleep(float(request.args.get("seconds", "0")))
    return str(size)


@app.post("/orders")
def order():
    """Stores an order: a line in a file, so that all workers share it and none is lost."""
    with open(os.environ["ORDERS"], "ab", buffering=0) as orders:
        orders.write(request.get_data() + b"\n")
    return "stored", 201


@app.get("/stream")
def stream():
    """After a wait, sends the worker's pid, then one more chunk after every pause."""
    time.sleep(float(request.args.get("wait", "0")))
    chunks = int(request.args.get("chunks", "5"))
    pause = float(request.args.get("pause", "0.01"))

    def body():
        yield f"{os.getpid():<10}"
        for _ in range(chunks):
            time.sleep(pause)
            yield "0123456789"

    headers = {}
    if "length" in request.args:
        headers["Content-Length"] = str(10 * (chunks + 1))
    return Response(body(), mimetype="text/plain", headers=headers)
