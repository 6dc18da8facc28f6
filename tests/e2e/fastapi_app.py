"""An app as people write it with FastAPI, for uvicorn (HTTP/1) and hypercorn (HTTP/2 too).

It says on standard output what it learns about its clients, and when: see `apps.py`.
"""

import asyncio
import json
import time

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse

SECONDS = 6
TICK = 0.05

app = FastAPI()


def note(what, path):
    print(json.dumps({"what": what, "path": path, "at": time.monotonic()}), flush=True)


async def patience(request):
    """Works for `SECONDS`, and looks now and then whether anybody still waits for it."""
    path = request.url.path
    note("begun", path)
    try:
        for _ in range(int(SECONDS / TICK)):
            if await request.is_disconnected():
                note("left", path)
                return
            yield
            await asyncio.sleep(TICK)
    except (asyncio.CancelledError, GeneratorExit):
        # A stream is not asked to look: it is ended.
        note("left", path)
        raise
    note("done", path)


@app.api_route("/before/{who}", methods=["GET", "POST"])
async def before(request: Request):
    await request.body()
    async for _ in patience(request):
        pass
    return PlainTextResponse("late")


@app.api_route("/within/{who}", methods=["GET", "POST"])
async def within(request: Request):
    await request.body()

    async def ticks():
        async for _ in patience(request):
            yield "tick\n"

    return StreamingResponse(ticks(), media_type="text/plain")


@app.api_route("/events/{who}", methods=["GET", "POST"])
async def events(request: Request):
    """An event stream that says hello and then nothing more."""
    await request.body()

    async def silence():
        yield ": hello\n\n"
        async for _ in patience(request):
            pass

    return StreamingResponse(silence(), media_type="text/event-stream")


@app.websocket("/tunnel/{who}")
async def tunnel(socket: WebSocket):
    await socket.accept()
    note("begun", socket.url.path)
    try:
        await socket.receive_text()
    except WebSocketDisconnect:
        note("left", socket.url.path)


@app.post("/upload")
async def upload(request: Request, seconds: float = 0):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    await asyncio.sleep(seconds)
    return PlainTextResponse(str(size))


async def hints(scope, _receive, send):
    """Early hints are an extension of ASGI, which FastAPI has no words for."""
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload; as=style"]})
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


app.mount("/hints", hints)
