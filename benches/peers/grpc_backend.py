"""A unary gRPC service that answers with what it got, on grpcio; and a client that checks it.

grpc_backend.py serve PORT
grpc_backend.py call PORT      prints `ok` if the answer is the request, with status OK
"""

import sys
from concurrent import futures

import grpc

METHOD = "/peers.Echo/Call"


def serve(port):
    """Serves until the process is ended. Messages stay bytes; no schema is needed."""
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    service = grpc.method_handlers_generic_handler("peers.Echo", {"Call": handler})
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def call(port):
    """One call as an application makes it. Raises if its status is not OK."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = channel.unary_unary(METHOD)(b"a message", timeout=10)
    print("ok" if answer == b"a message" else f"another answer: {answer!r}")


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](int(sys.argv[2]))
