"""The rules of HTTP/2 about messages and header compression; see `h2_rules`."""

from h2_frames import *  # noqa: F403
from h2_rules import rule


def without(fields, name):
    return [(key, value) for key, value in fields if key != name]


def but(fields, name, value):
    return [(key, value if key == name else old) for key, old in fields]


# --- requests that are answered -------------------------------------------------------------------


@rule("8.1")
def get_is_answered(connect):
    finished(connect, "GET")


@rule("8.1")
def head_is_answered_without_a_body(connect):
    c = connect()
    c.request(1, c.fields("HEAD"))
    c.gets_answer(1, 200)
    if not c.seen[-1].ends_stream():
        assert c.gets_body(1) == b"", c.story()


@rule("8.1")
def post_is_answered(connect):
    c = connect()
    c.request(1, c.fields("POST"), END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, b"test"))
    c.gets_answer(1, 200)


@rule("8.1")
def post_with_trailers_is_answered(connect):
    c = connect()
    c.request(1, c.fields("POST", trailer="x-sum"), END_HEADERS)
    c.send(frame(DATA, 0, 1, b"test"), frame(HEADERS, 0x5, 1, literal("x-sum", "1")))
    c.gets_answer(1, 200)


def finished(connect, method):
    c = connect()
    c.request(1, c.fields(method))
    c.gets_answer(1, 200)
    assert c.gets_body(1), c.story()


@rule("8.1")
def a_second_header_block_without_the_end_is_an_error(connect):
    c = connect()
    c.request(1, c.fields("POST"), END_HEADERS)
    c.send(frame(HEADERS, END_HEADERS, 1, literal("x", "y")))
    c.stream_fails(PROTOCOL_ERROR)


@rule("8.1")
def a_second_header_block_after_data_without_the_end_is_an_error(connect):
    c = connect()
    c.request(1, c.fields("POST"), END_HEADERS)
    c.send(frame(DATA, 0, 1, b"test"), frame(HEADERS, END_HEADERS, 1, literal("x", "y")))
    c.stream_fails(PROTOCOL_ERROR)


# --- fields ---------------------------------------------------------------------------------------

MALFORMED = [
    ("8.1.2", "an upper-case name", lambda f: [*f, ("X-TEST", "ok")]),
    ("8.1.2.1", "an unknown pseudo-field", lambda f: [*f, (":test", "ok")]),
    ("8.1.2.1", "a pseudo-field of answers", lambda f: [*f, (":status", "200")]),
    ("8.1.2.1", "a pseudo-field after a field", lambda f: [f[0], ("x", "y"), *f[1:]]),
    ("8.1.2.1", "a last pseudo-field after a field", lambda f: [*f[:-1], ("x", "y"), f[-1]]),
    ("8.1.2.1", ":protocol without the setting", lambda f: [*f, (":protocol", "websocket")]),
    ("8.1.2.2", "connection", lambda f: [*f, ("connection", "keep-alive")]),
    ("8.1.2.2", "keep-alive", lambda f: [*f, ("keep-alive", "timeout=5")]),
    ("8.1.2.2", "proxy-connection", lambda f: [*f, ("proxy-connection", "keep-alive")]),
    ("8.1.2.2", "transfer-encoding", lambda f: [*f, ("transfer-encoding", "chunked")]),
    ("8.1.2.2", "upgrade", lambda f: [*f, ("upgrade", "h2c")]),
    ("8.1.2.2", "te other than trailers", lambda f: [*f, ("te", "trailers, deflate")]),
    ("8.1.2.2", "te gzip", lambda f: [*f, ("te", "gzip")]),
    ("8.1.2.3", "an empty path", lambda f: but(f, ":path", "")),
    ("8.1.2.3", "no method", lambda f: without(f, ":method")),
    ("8.1.2.3", "no scheme", lambda f: without(f, ":scheme")),
    ("8.1.2.3", "no path", lambda f: without(f, ":path")),
    ("8.1.2.3", "two methods", lambda f: [(":method", "GET"), *f]),
    ("8.1.2.3", "two schemes", lambda f: [(":scheme", "http"), *f]),
    ("8.1.2.3", "two paths", lambda f: [(":path", "/"), *f]),
    ("9113 8.3.1", "two authorities", lambda f: [(":authority", "app"), *f]),
    ("9113 8.3.1", "an empty method", lambda f: but(f, ":method", "")),
    ("9113 8.3.1", "a path without a slash", lambda f: but(f, ":path", "a")),
    ("9113 8.3.1", "a path with a space", lambda f: but(f, ":path", "/a b")),
    ("9113 8.3.1", "a method with a space", lambda f: but(f, ":method", "GE T")),
    ("9113 8.2.1", "a name with a space", lambda f: [*f, ("x y", "z")]),
    ("9113 8.2.1", "an empty name", lambda f: [*f, ("", "z")]),
    ("9113 8.2.1", "a name with a colon", lambda f: [*f, ("x:y", "z")]),
    ("9113 8.2.1", "a name with a line feed", lambda f: [*f, ("x\ny", "z")]),
    ("9113 8.2.1", "a name beyond ASCII", lambda f: [*f, ("x\xffy", "z")]),
    ("9113 8.2.1", "a value with NUL", lambda f: [*f, ("x", "a\0b")]),
    ("9113 8.2.1", "a value with LF", lambda f: [*f, ("x", "a\nb")]),
    ("9113 8.2.1", "a value with CR", lambda f: [*f, ("x", "a\rb")]),
    ("9113 8.2.1", "a value that begins with a space", lambda f: [*f, ("x", " a")]),
    ("9113 8.2.1", "a value that ends with a tab", lambda f: [*f, ("x", "a\t")]),
    ("9113 8.3.1", "user information", lambda f: but(f, ":authority", "user@app")),
    ("9113 8.3.1", "another host", lambda f: [*f, ("host", "other")]),
    ("9113 8.3.1", "an asterisk for GET", lambda f: but(f, ":path", "*")),
    ("9113 8.5", "CONNECT with a path", lambda f: but(f, ":method", "CONNECT")),
    ("8.1.2.6", "a content-length that is no number", lambda f: [*f, ("content-length", "x")]),
    ("8.1.2.6", "a signed content-length", lambda f: [*f, ("content-length", "+0")]),
    ("8.1.2.6", "a content-length without a body", lambda f: [*f, ("content-length", "1")]),
    (
        "8.1.2.6",
        "two content-lengths",
        lambda f: [*f, ("content-length", "0"), ("content-length", "1")],
    ),
]


def malformed(section, name, change):
    def check(connect):
        c = connect()
        c.request(1, change(c.fields()))
        if section.startswith("9113"):
            # RFC 9113 asks for more than its predecessor; a decoder may be the one to refuse.
            c.is_refused(PROTOCOL_ERROR, COMPRESSION_ERROR)
        else:
            c.stream_fails(PROTOCOL_ERROR)

    check.__name__ = name.replace(" ", "_")
    rule(section)(check)


for _section, _name, _change in MALFORMED:
    malformed(_section, _name, _change)


@rule("8.1.2.1")
def a_pseudo_field_behind_data_without_the_end_is_an_error(connect):
    c = connect()
    c.request(1, c.fields("POST"), END_HEADERS)
    c.send(frame(DATA, 0, 1, b"test"), frame(HEADERS, END_HEADERS, 1, literal(":method", "POST")))
    c.stream_fails(PROTOCOL_ERROR)


@rule("8.1.2")
def an_upper_case_name_in_trailers_is_an_error(connect):
    c = connect()
    c.request(1, c.fields("POST", trailer="x"), END_HEADERS)
    c.send(frame(DATA, 0, 1, b"test"), frame(HEADERS, 0x5, 1, literal("X-Sum", "1")))
    c.stream_fails(PROTOCOL_ERROR)


@rule("8.1.2.6")
def a_content_length_that_is_not_the_size_of_the_data_is_an_error(connect):
    c = connect()
    c.request(1, c.fields("POST", content_length="1"), END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, b"test"))
    c.stream_fails(PROTOCOL_ERROR)


@rule("8.1.2.6")
def a_content_length_that_is_not_the_sum_of_the_data_is_an_error(connect):
    c = connect()
    c.request(1, c.fields("POST", content_length="1"), END_HEADERS)
    c.send(frame(DATA, 0, 1, b"test"), frame(DATA, END_STREAM, 1, b"test"))
    c.stream_fails(PROTOCOL_ERROR)


@rule("8.1.2.6")
def a_content_length_beyond_the_data_is_an_error(connect):
    c = connect()
    c.request(1, c.fields("POST", content_length="9"), END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, b"test"))
    c.stream_fails(PROTOCOL_ERROR)


@rule("8.1.2.6")
def a_content_length_that_fits_is_taken(connect):
    c = connect()
    c.request(1, c.fields("POST", content_length="8"), END_HEADERS)
    c.send(frame(DATA, 0, 1, b"test"), frame(DATA, END_STREAM, 1, b"test"))
    c.gets_answer(1, 200)


@rule("8.1.2.2")
def te_trailers_is_taken(connect):
    c = connect()
    c.request(1, c.fields(te="trailers"))
    c.gets_answer(1, 200)


@rule("9113 8.3.1")
def host_that_equals_the_authority_is_taken(connect):
    c = connect()
    c.request(1, c.fields(host=c.host))
    c.gets_answer(1, 200)


@rule("9113 8.3.1")
def host_instead_of_the_authority_is_taken(connect):
    c = connect()
    c.request(1, [*without(c.fields(), ":authority"), ("host", c.host)])
    c.gets_answer(1, 200)


@rule("9113 8.3.1")
def options_asterisk_is_taken(connect):
    c = connect()
    c.request(1, c.fields("OPTIONS", "*"))
    c.gets_answer(1)


@rule("9113 8.5")
def connect_does_not_end_the_connection(connect):
    """CONNECT is refused, and the other streams live on."""
    c = connect()
    c.request(1, [(":method", "CONNECT"), (":authority", "app:80")], END_HEADERS)
    c.request(3)
    c.gets_answer(3, 200)


# --- header compression ---------------------------------------------------------------------------


def decodes(connect, field):
    """A request with this field, as encoded bytes, is answered."""
    c = connect()
    c.send(frame(HEADERS, 0x5, 1, block(c.fields()) + field))
    c.gets_answer(1, 200)


HUFFMAN_VALUE = bytes([0x80 | 3, 0x49, 0x50, 0x9F])  # "test"
DECODABLE = [
    ("6.1", "an indexed field", b"\x90"),  # accept-encoding: gzip, deflate
    ("6.2.1", "indexing, indexed name", b"\x7a\x04test"),
    ("6.2.1", "indexing, indexed name, huffman", b"\x7a" + HUFFMAN_VALUE),
    ("6.2.1", "indexing, new name", b"\x40\x06x-test\x04test"),
    ("6.2.1", "indexing, new name, huffman", b"\x40\x06x-test" + HUFFMAN_VALUE),
    ("6.2.1", "indexing, new name, then by index", b"\x40\x06x-test\x04test\xbe"),
    ("6.2.2", "no indexing, indexed name", b"\x0f\x2b\x04test"),
    ("6.2.2", "no indexing, indexed name, huffman", b"\x0f\x2b" + HUFFMAN_VALUE),
    ("6.2.2", "no indexing, new name", b"\x00\x06x-test\x04test"),
    ("6.2.2", "no indexing, new name, huffman", b"\x00\x06x-test" + HUFFMAN_VALUE),
    ("6.2.3", "never indexed, indexed name", b"\x1f\x2b\x04test"),
    ("6.2.3", "never indexed, indexed name, huffman", b"\x1f\x2b" + HUFFMAN_VALUE),
    ("6.2.3", "never indexed, new name", b"\x10\x06x-test\x04test"),
    ("6.2.3", "never indexed, new name, huffman", b"\x10\x06x-test" + HUFFMAN_VALUE),
]


def decodable(section, name, field):
    def check(connect):
        decodes(connect, field)

    check.__name__ = name.replace(" ", "_").replace(",", "")
    rule(f"HPACK {section}")(check)


for _case in DECODABLE:
    decodable(*_case)


@rule("HPACK 6.3")
def a_table_size_update_is_taken(connect):
    c = connect()
    c.send(frame(HEADERS, 0x5, 1, b"\x20" + block(c.fields())))
    c.gets_answer(1, 200)


@rule("HPACK 6.3")
def two_table_size_updates_are_taken(connect):
    c = connect()
    c.send(frame(HEADERS, 0x5, 1, b"\x20" + integer(4096, 5, 0x20) + block(c.fields())))
    c.gets_answer(1, 200)


UNDECODABLE = [
    ("2.3.3", "an index beyond the table", b"\xff\x00\x00"[:2]),
    ("2.3.3", "a name index beyond the table", b"\x7f\x00\x04test"),
    ("4.2", "a table size update at the end", b"\x21"),
    ("5.2", "huffman padding beyond 7 bits", b"\x00\x06x-test\x84\x49\x50\x9f\xff"),
    ("5.2", "huffman padding with zeros", b"\x00\x06x-test\x83\x49\x50\x90"),
    ("5.2", "huffman with the end symbol", b"\x00\x06x-test\x88\x49\x50\x9f\xff\xff\xff\xff\xff"),
    ("2.3.3", "an index of one byte beyond the table", b"\xfe"),
    ("5.2", "huffman padding, name too", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
    ("5.2", "huffman zeros, name too", b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
    (
        "5.2",
        "the end symbol first",
        b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\xff\xff\xff\xfd\x25\x42\x7f",
    ),
    ("4.3", "a name without a length", b"\x40"),
    ("6.1", "index 0", b"\x80"),
    ("5.1", "an integer without end", b"\x7f" + b"\xff" * 10),
]


def undecodable(section, name, field):
    def check(connect):
        c = connect()
        c.send(frame(HEADERS, 0x5, 1, block(c.fields()) + field))
        c.fails(COMPRESSION_ERROR)

    check.__name__ = name.replace(" ", "_")
    rule(f"HPACK {section}")(check)


for _case in UNDECODABLE:
    undecodable(*_case)


@rule("HPACK 6.3")
def a_table_size_beyond_the_setting_ends_the_connection(connect):
    c = connect()
    size = c.settings.get(TABLE_SIZE, 4096) + 1
    c.send(frame(HEADERS, 0x5, 1, integer(size, 5, 0x20) + block(c.fields())))
    c.fails(COMPRESSION_ERROR)
