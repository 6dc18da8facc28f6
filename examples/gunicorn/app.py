"""A small Flask app without any metrics code."""

import time

from flask import Flask, request

app = Flask(__name__)


@app.get("/ruok")
def ruok():
    return "imok\n"


@app.get("/users/<int:user>")
def users(user):
    return {"id": user}


@app.get("/slow")
def slow():
    time.sleep(1)
    return "done\n"


@app.get("/fail")
def fail():
    raise RuntimeError("this path always fails")


@app.post("/upload")
def upload():
    return f"{len(request.get_data())} bytes\n", 201
