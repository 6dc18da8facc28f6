#!/usr/bin/env python3
"""An app for the attacks: HTTP/1.1, one process, prints its port.

/hang never answers, /big answers 128 KiB, /never reads nothing of an upload, /sink reads all, and
everything else is answered at once.
"""

import asyncio
import resource

BIG = bytes(128 * 1024)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith((b"GET ", b"POST ", b"PUT ")):
                break
            target = head.split(b" ", 2)[1]
            if target.startswith((b"/hang", b"/never")):
                await asyncio.sleep(3600)
            fields = head.lower()
            if b"\r\ntransfer-encoding: chunked" in fields:
                while size := int(await reader.readline(), 16):
                    await reader.readexactly(size + 2)
                await reader.readline()
            elif b"\r\ncontent-length: " in fields:
                left = int(fields.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
                while left:
                    left -= len(await reader.read(min(left, 1 << 20)))
            if target.startswith(b"/big"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
                for at in range(0, len(BIG), 16384):
                    writer.write(BIG[at : at + 16384])
                    await writer.drain()
            else:
                writer.write(OK)
                await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(
        serve, "127.0.0.1", 0, backlog=4096, limit=1 << 17, start_serving=False
    )
    await server.start_serving()
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(3600)


soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
asyncio.run(main())
