"""A backend of HTTP/2 by prior knowledge, on the `h2` library, that remembers what it saw."""

import socket
import threading

import h2.config
import h2.connection
import h2.events
import h2.settings
from peers import Acceptor


class H2Backend(Acceptor):
    """Each connection runs on a thread; `answer(self, connection, stream)` replies to a request."""

    def __init__(self, answer=None, streams=100):
        self.answer = answer or answer_ok
        self.streams = streams
        self.requests, self.connections, self.resets, self.ended = {}, [], [], []
        self.most_at_once = 0
        super().__init__(backlog=256)

    def close(self):
        super().close()
        for connection in self.connections:
            connection.close()

    def _serve(self, sock):
        H2Connection(self, sock).serve()

    def of(self, path):
        """The requests with this path, as {field: value} with `body` and `trailers`."""
        return [r for r in self.requests.values() if r[":path"] == path]


def answer_ok(connection, stream, request):
    connection.reply(stream, 200, b"ok")


class H2Connection:
    def __init__(self, backend, sock):
        self.backend, self.socket = backend, sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lock = threading.RLock()
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        config.validate_inbound_headers = False
        self.h2 = h2.connection.H2Connection(config=config)
        self.open, self.number, self.waiting = set(), None, {}

    def serve(self):
        limits = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.backend.streams}
        # Set before the start: what is updated later is announced only by a second frame.
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=limits)
        self.h2.initiate_connection()
        self.flush()
        try:
            while data := self.socket.recv(65536):
                with self.lock:
                    for event in self.h2.receive_data(data):
                        self.handle(event)
                    self.flush()
        except Exception as error:  # A thread has nobody to raise to.
            self.backend.ended.append(repr(error))
        finally:
            self.backend.ended.append("closed")
            self.close()

    def handle(self, event):
        backend = self.backend
        if isinstance(event, h2.events.RequestReceived):
            if self.number is None:
                self.number = len(backend.connections)
                backend.connections.append(self)
            request = dict(event.headers) | {"fields": event.headers}
            request |= {"body": b"", "trailers": []}
            backend.requests[self.number, event.stream_id] = request
            self.open.add(event.stream_id)
            backend.most_at_once = max(backend.most_at_once, len(self.open))
        elif isinstance(event, h2.events.DataReceived):
            backend.requests[self.number, event.stream_id]["body"] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            backend.requests[self.number, event.stream_id]["trailers"] = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            request = backend.requests[self.number, event.stream_id]
            backend.answer(self, event.stream_id, request)
        elif isinstance(event, h2.events.StreamReset):
            self.open.discard(event.stream_id)
            backend.resets.append((event.stream_id, int(event.error_code)))
        elif isinstance(event, h2.events.WindowUpdated):
            self.go_on()

    def reply(self, stream, status, body=b"", fields=(), trailers=()):
        """An answer; what the windows do not let through waits for them."""
        with self.lock:
            head = [(":status", str(status)), *fields]
            self.h2.send_headers(stream, head, end_stream=not body and not trailers)
            if body or trailers:
                self.waiting[stream] = (memoryview(body), list(trailers))
            else:
                self.open.discard(stream)
            self.go_on()

    def go_on(self):
        for stream, (body, trailers) in list(self.waiting.items()):
            while body:
                room = min(
                    self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size
                )
                if room <= 0:
                    break
                self.h2.send_data(stream, bytes(body[:room]), end_stream=False)
                body = body[room:]
            self.waiting[stream] = (body, trailers)
            if not body:
                del self.waiting[stream]
                self.open.discard(stream)
                if trailers:
                    self.h2.send_headers(stream, trailers, end_stream=True)
                else:
                    self.h2.end_stream(stream)
        self.flush()

    def reset(self, stream, code):
        with self.lock:
            self.h2.reset_stream(stream, code)
            self.open.discard(stream)
            self.flush()

    def go_away(self, last, code=0):
        with self.lock:
            self.h2.close_connection(code, last_stream_id=last)
            self.flush()

    def flush(self):
        with self.lock:
            data = self.h2.data_to_send()
        if data:
            try:
                self.socket.sendall(data)
            except OSError:
                pass

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
