"""A gRPC service in all shapes, without generated code: messages are plain bytes."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

SERVICE = "redcar.test.Shapes"
BIG = 64 << 20
OPTIONS = [
    ("grpc.max_receive_message_length", BIG),
    ("grpc.max_send_message_length", BIG),
    ("grpc.enable_http_proxy", 0),
]


class Shapes:
    """What the service was asked for and how each call ended is kept for the tests."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.cancelled = threading.Semaphore(0)
        self.deadlines = []

    def empty(self, request, context):
        return b""

    def echo(self, request, context):
        return request

    def count(self, requests, context):
        return str(sum(len(r) for r in requests)).encode()

    def repeat(self, request, context):
        times, size = (int(n) for n in request.split())
        for number in range(times):
            yield bytes([number % 256]) * size

    def ping_pong(self, requests, context):
        yield from requests

    def metadata(self, request, context):
        sent = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-initial", sent["x-initial"]),))
        context.set_trailing_metadata((("x-trailing-bin", sent["x-trailing-bin"]),))
        return b"".join(k.encode() for k in sorted(sent) if k.startswith("x-"))

    def status(self, request, context):
        code, message = request.decode().split(":", 1)
        context.abort(grpc.StatusCode[code], message)

    def status_after_messages(self, request, context):
        yield b"one"
        yield b"two"
        context.abort(grpc.StatusCode.DATA_LOSS, "lost")

    def watch(self, context):
        """An event for the end of the call, which `cancelled` counts."""
        ended = threading.Event()
        self.deadlines.append(context.time_remaining())
        context.add_callback(lambda: (self.cancelled.release(), ended.set()))
        self.begun.release()
        return ended

    def wait(self, request, context):
        self.watch(context).wait(20)
        return b""

    def wait_after_one(self, request, context):
        ended = self.watch(context)
        yield b"one"
        ended.wait(20)

    def handlers(self):
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return {
            "Empty": unary(self.empty),
            "Echo": unary(self.echo),
            "Count": grpc.stream_unary_rpc_method_handler(self.count),
            "Repeat": stream(self.repeat),
            "PingPong": grpc.stream_stream_rpc_method_handler(self.ping_pong),
            "Metadata": unary(self.metadata),
            "Status": unary(self.status),
            "StatusAfterMessages": stream(self.status_after_messages),
            "Wait": unary(self.wait),
            "WaitAfterOne": stream(self.wait_after_one),
        }


class Server:
    """The service on a free port."""

    def __init__(self):
        self.shapes = Shapes()
        self.server = grpc.server(ThreadPoolExecutor(32), options=OPTIONS)
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, self.shapes.handlers()),)
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.upstream = f"127.0.0.1:{self.port}"

    def stop(self):
        self.server.stop(0).wait(5)


class Client:
    """A channel to one port."""

    def __init__(self, port):
        # A subchannel of its own: others would share its connection and its back-off.
        own = ("grpc.use_local_subchannel_pool", 1)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[*OPTIONS, own])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def unary(self, method, request=b"", timeout=20, **kwargs):
        return self.call("unary_unary", method)(request, timeout=timeout, **kwargs)

    def call(self, shape, method):
        return getattr(self.channel, shape)(f"/{SERVICE}/{method}")

    def code_of(self, function):
        """The status with which a call fails, and its message."""
        try:
            function()
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError("the call succeeded")


def wait_for(semaphore, what):
    began = time.monotonic()
    assert semaphore.acquire(timeout=10), f"not within {time.monotonic() - began:.0f} s: {what}"
