"""Traffic of every protocol through sidecars of its own, until told to stop."""

import contextlib
import ssl
import threading

import httpx
from grpc_app import Client, Server
from helpers import Proxy
from test_event_streams import stream
from test_tls import certificate
from test_websocket import dial, python_server


@contextlib.contextmanager
def every_protocol(processes):
    """{job: metrics port} of sidecars that see gRPC, WebSocket, and event streams over TLS."""
    cert, key = certificate(processes.folder, "localhost")
    trust = ssl.create_default_context(cafile=cert)
    service = Server()
    stop = threading.Event()

    with contextlib.ExitStack() as stack:
        stack.callback(service.stop)
        chat_port = stack.enter_context(python_server())
        backend = stack.enter_context(stream(3, 0.02))
        calls = Proxy(processes, service.upstream)
        chats = Proxy(processes, f"127.0.0.1:{chat_port}")
        events = Proxy(processes, backend.upstream, "--tls-cert", cert, "--tls-key", key)

        def drive():
            with Client(calls.port) as client, dial(chats.port):
                while not stop.wait(0.2):
                    client.unary("Empty")
                    client.code_of(lambda: client.unary("Status", b"NOT_FOUND:no"))
                    with dial(chats.port) as chat:
                        chat.send("hello")
                        chat.recv()
                    httpx.get(f"https://localhost:{events.port}/events", verify=trust, timeout=10)

        driver = threading.Thread(target=drive, daemon=True)
        driver.start()
        try:
            yield {
                "calls": calls.metrics_port,
                "chats": chats.metrics_port,
                "events": events.metrics_port,
            }
        finally:
            stop.set()
            driver.join(20)
