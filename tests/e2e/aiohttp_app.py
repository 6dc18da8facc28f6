"""An app on aiohttp, whose handlers are cancelled when their client leaves: aiohttp_app.py PORT

It says on standard output what it learns about its clients, and when: see `apps.py`.
"""

import asyncio
import json
import sys
import time

from aiohttp import web

SECONDS = 6
TICK = 0.05


def note(what, path):
    print(json.dumps({"what": what, "path": path, "at": time.monotonic()}), flush=True)


async def patience(request, tick):
    """Works for `SECONDS` unless it is cancelled, or can write no more."""
    note("begun", request.path)
    try:
        for _ in range(int(SECONDS / TICK)):
            await tick()
            await asyncio.sleep(TICK)
    except (asyncio.CancelledError, ConnectionError):
        note("left", request.path)
        raise
    note("done", request.path)


async def nothing():
    pass


async def before(request):
    await request.read()
    await patience(request, nothing)
    return web.Response(text="late")


async def within(request):
    await request.read()
    answer = web.StreamResponse()
    await answer.prepare(request)
    await patience(request, lambda: answer.write(b"tick\n"))
    return answer


async def events(request):
    await request.read()
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    await answer.write(b": hello\n\n")
    await patience(request, nothing)
    return answer


async def tunnel(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    note("begun", request.path)
    try:
        async for _ in socket:
            pass
    finally:
        note("left", request.path)
    return socket


app = web.Application()
for moment in (before, within, events, tunnel):
    app.router.add_route("*", f"/{moment.__name__}/{{who}}", moment)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), handler_cancellation=True, print=None)
