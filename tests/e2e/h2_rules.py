"""The rules of HTTP/2 for servers, section by section: each a function that takes a way to connect.

The sections are those of RFC 7540, whose numbers strict suites use; RFC 9113 has the same rules
unless a rule says so. A rule that fails prints what was sent and what came back.
"""

import struct

from h2_frames import *  # noqa: F403

RULES = []


def rule(section):
    def add(function):
        RULES.append((section, function.__name__, function))
        return function

    return add


def pad(data, length):
    return bytes([length]) + data + bytes(length)


# --- starting, and the ways a stream may go -----------------------------------------------------


@rule("3.5")
def a_preface_starts_the_connection(connect):
    connect().is_alive()


@rule("3.5")
def a_wrong_preface_ends_the_connection(connect):
    c = connect(handshake=False)
    c.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
    c.is_closed()


@rule("3.5")
def a_request_right_behind_the_preface_is_answered(connect):
    c = connect(handshake=False)
    c.send(PREFACE, frame(SETTINGS), frame(HEADERS, 0x5, 1, block(c.fields())))
    c.gets_answer(1, 200)


@rule("3.5")
def a_preface_in_pieces_starts_the_connection(connect):
    c = connect(handshake=False)
    for piece in (PREFACE[:1], PREFACE[1:10], PREFACE[10:20], PREFACE[20:]):
        c.send(piece)
    c.send(frame(SETTINGS))
    c.is_alive()


@rule("4.1")
def a_frame_of_unknown_type_is_ignored(connect):
    c = connect()
    c.send(frame(22, 0, 0, bytes(8)))
    c.is_alive()


@rule("4.1")
def undefined_flags_are_ignored(connect):
    c = connect()
    c.send(frame(PING, 0x16, 0, b"undefine"))
    c.wait_for(lambda f: f.kind == PING and f.flags & ACK, "PING ACK")


@rule("4.1")
def the_reserved_bit_of_a_stream_number_is_ignored(connect):
    c = connect()
    c.send(frame(PING, 0, 1 << 31, b"reserved"))
    c.wait_for(lambda f: f.kind == PING and f.flags & ACK, "PING ACK")


@rule("4.2")
def a_data_frame_of_2_to_the_14_is_taken(connect):
    c = connect()
    c.request(1, c.fields("POST"), END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, bytes(1 << 14)))
    c.gets_answer(1, 200)


@rule("4.2")
def a_data_frame_beyond_the_limit_is_an_error(connect):
    c = connect()
    limit = c.settings.get(MAX_FRAME, 1 << 14)
    c.request(1, c.fields("POST"), END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, bytes(limit + 1)))
    c.stream_fails(FRAME_SIZE_ERROR)


@rule("4.2")
def a_headers_frame_beyond_the_limit_ends_the_connection(connect):
    c = connect()
    limit = c.settings.get(MAX_FRAME, 1 << 14)
    fields = block(c.fields(x="a" * limit))
    c.send(frame(HEADERS, 0x5, 1, fields))
    c.fails(FRAME_SIZE_ERROR)


@rule("4.3")
def a_header_block_that_does_not_decode_ends_the_connection(connect):
    c = connect()
    # A literal with a new name whose length says more than there is.
    c.send(frame(HEADERS, 0x5, 1, b"\x40\x1f\x0a"))
    c.fails(COMPRESSION_ERROR)


@rule("4.3")
def a_priority_frame_inside_a_header_block_ends_the_connection(connect):
    c = connect()
    whole = block(c.fields())
    c.send(frame(HEADERS, END_STREAM, 1, whole[:10]), priority(1))
    c.send(frame(CONTINUATION, END_HEADERS, 1, whole[10:]))
    c.fails(PROTOCOL_ERROR)


@rule("4.3")
def headers_of_another_stream_inside_a_header_block_end_the_connection(connect):
    c = connect()
    whole = block(c.fields())
    c.send(frame(HEADERS, END_STREAM, 1, whole[:10]), frame(HEADERS, 0x5, 3, whole))
    c.fails(PROTOCOL_ERROR)


# --- states of a stream ---------------------------------------------------------------------------


@rule("5.1")
def idle_data_ends_the_connection(connect):
    c = connect()
    c.send(frame(DATA, END_STREAM, 1, b"test"))
    c.fails(PROTOCOL_ERROR)


@rule("5.1")
def idle_rst_stream_ends_the_connection(connect):
    c = connect()
    c.send(rst_stream(1))
    c.fails(PROTOCOL_ERROR)


@rule("5.1")
def idle_window_update_ends_the_connection(connect):
    c = connect()
    c.send(window_update(1, 100))
    c.fails(PROTOCOL_ERROR)


@rule("5.1")
def idle_continuation_ends_the_connection(connect):
    c = connect()
    c.send(frame(CONTINUATION, END_HEADERS, 1, block(c.fields())))
    c.fails(PROTOCOL_ERROR)


@rule("5.1")
def half_closed_data_is_an_error(connect):
    c = connect()
    c.request(1)
    c.send(frame(DATA, END_STREAM, 1, b"test"))
    c.stream_fails(STREAM_CLOSED)


@rule("5.1")
def half_closed_headers_are_an_error(connect):
    c = connect()
    c.request(1)
    c.request(1)
    c.stream_fails(STREAM_CLOSED)


@rule("5.1")
def half_closed_continuation_ends_the_connection(connect):
    c = connect()
    c.request(1)
    c.send(frame(CONTINUATION, END_HEADERS, 1, block(c.fields())))
    c.fails(STREAM_CLOSED, PROTOCOL_ERROR)


def reset_stream(c):
    c.request(1, flags=END_HEADERS)
    c.send(rst_stream(1))


@rule("5.1")
def data_after_rst_stream_is_an_error(connect):
    c = connect()
    reset_stream(c)
    c.send(frame(DATA, END_STREAM, 1, b"test"))
    c.stream_fails(STREAM_CLOSED)


@rule("5.1")
def headers_after_rst_stream_are_an_error(connect):
    c = connect()
    reset_stream(c)
    c.request(1)
    c.stream_fails(STREAM_CLOSED)


@rule("5.1")
def continuation_after_rst_stream_ends_the_connection(connect):
    c = connect()
    reset_stream(c)
    c.send(frame(CONTINUATION, END_HEADERS, 1, block(c.fields())))
    c.fails(STREAM_CLOSED, PROTOCOL_ERROR)


def finished_stream(c):
    c.request(1)
    c.gets_answer(1, 200)
    c.gets_body(1)


@rule("5.1")
def closed_headers_end_the_connection(connect):
    c = connect()
    finished_stream(c)
    c.request(1)
    c.fails(STREAM_CLOSED)


@rule("5.1")
def closed_continuation_ends_the_connection(connect):
    c = connect()
    finished_stream(c)
    c.send(frame(CONTINUATION, END_HEADERS, 1, block(c.fields())))
    c.fails(STREAM_CLOSED, PROTOCOL_ERROR)


@rule("5.1.1")
def an_even_stream_number_ends_the_connection(connect):
    c = connect()
    c.request(2)
    c.fails(PROTOCOL_ERROR)


@rule("5.1.1")
def a_stream_number_below_an_earlier_one_ends_the_connection(connect):
    c = connect()
    c.request(5)
    c.gets_answer(5, 200)
    c.request(3)
    c.fails(PROTOCOL_ERROR)


@rule("5.1.1")
def a_stream_number_below_one_in_flight_ends_the_connection(connect):
    c = connect()
    c.request(5)
    c.request(3)
    c.fails(PROTOCOL_ERROR)


@rule("5.1.1")
def a_stream_number_that_is_in_flight_is_an_error(connect):
    c = connect()
    c.request(5)
    c.request(5)
    c.stream_fails(STREAM_CLOSED)


@rule("5.1.2")
def answered_streams_beyond_the_limit_are_refused(connect):
    """The window holds the answers back, so that none of the streams ends."""
    c = connect()
    c.send(frame(SETTINGS, payload=setting((INITIAL_WINDOW, 0))))
    fields = block(c.fields())
    c.send(*(frame(HEADERS, 0x5, 1 + 2 * n, fields) for n in range(c.settings[MAX_STREAMS] + 1)))
    c.stream_fails(PROTOCOL_ERROR, REFUSED_STREAM)


@rule("5.1.2")
def streams_beyond_the_limit_are_refused(connect):
    c = connect()
    limit = c.settings.get(MAX_STREAMS)
    assert limit, "the server announces no MAX_CONCURRENT_STREAMS"
    fields = block(c.fields("POST"))
    c.send(*(frame(HEADERS, END_HEADERS, 1 + 2 * n, fields) for n in range(limit + 1)))
    c.stream_fails(PROTOCOL_ERROR, REFUSED_STREAM)


@rule("5.3.1")
def headers_that_depend_on_themselves_are_an_error(connect):
    """RFC 9113 deprecates priorities; to read over the field is right as well."""
    c = connect()
    payload = struct.pack(">IB", 1, 255) + block(c.fields())
    c.send(frame(HEADERS, 0x5 | PRIORITISED, 1, payload))
    c.stream_fails(PROTOCOL_ERROR)


@rule("5.3.1")
def a_priority_frame_that_depends_on_itself_is_an_error(connect):
    c = connect()
    c.send(priority(2, depends_on=2))
    c.stream_fails(PROTOCOL_ERROR)


@rule("5.4.1")
def after_a_connection_error_the_connection_is_closed(connect):
    c = connect()
    c.send(frame(PING, 0, 1, bytes(8)))
    c.is_closed()


@rule("5.4.1")
def a_connection_error_is_told_by_goaway(connect):
    c = connect()
    c.send(frame(PING, 0, 3, b"wrong id"))
    c.fails(PROTOCOL_ERROR)


@rule("5.5")
def an_extension_frame_is_ignored(connect):
    c = connect()
    c.send(frame(0xFF, 0x16, 0, b"unknown"))
    c.is_alive()


@rule("5.5")
def an_extension_frame_inside_a_header_block_ends_the_connection(connect):
    c = connect()
    whole = block(c.fields())
    c.send(frame(HEADERS, END_STREAM, 1, whole[:10]), frame(0xFF, 1, 0, b"unknown"))
    c.send(frame(CONTINUATION, END_HEADERS, 1, whole[10:]))
    c.fails(PROTOCOL_ERROR)


# --- one kind of frame after the other ------------------------------------------------------------


@rule("6.1")
def data_on_stream_0_ends_the_connection(connect):
    c = connect()
    c.send(frame(DATA, 0, 0, b"test"))
    c.fails(PROTOCOL_ERROR)


@rule("6.1")
def data_on_a_stream_that_is_not_open_is_an_error(connect):
    c = connect()
    c.request(1)
    c.send(frame(DATA, END_STREAM, 1, b"test"))
    c.stream_fails(STREAM_CLOSED)


@rule("6.1")
def data_with_more_padding_than_payload_ends_the_connection(connect):
    c = connect()
    c.request(1, c.fields("POST"), END_HEADERS)
    c.send(frame(DATA, END_STREAM | PADDED, 1, b"\x06Test"))
    c.fails(PROTOCOL_ERROR)


@rule("6.1")
def data_with_padding_is_taken(connect):
    c = connect()
    c.request(1, c.fields("POST"), END_HEADERS)
    c.send(frame(DATA, END_STREAM | PADDED, 1, pad(b"test", 6)))
    c.gets_answer(1, 200)


@rule("6.1")
def several_data_frames_are_taken(connect):
    c = connect()
    c.request(1, c.fields("POST"), END_HEADERS)
    c.send(frame(DATA, 0, 1, b"test"), frame(DATA, 0, 1), frame(DATA, END_STREAM, 1, b"test"))
    c.gets_answer(1, 200)


@rule("6.2")
def a_priority_frame_after_half_a_header_block_ends_the_connection(connect):
    c = connect()
    c.send(frame(HEADERS, END_STREAM, 1, block(c.fields())), priority(1))
    c.fails(PROTOCOL_ERROR)


@rule("6.2")
def headers_of_another_stream_after_half_a_header_block_end_the_connection(connect):
    c = connect()
    c.send(frame(HEADERS, END_STREAM, 1, block(c.fields())))
    c.send(frame(HEADERS, 0x5, 3, block(c.fields())))
    c.fails(PROTOCOL_ERROR)


@rule("6.2")
def headers_on_stream_0_end_the_connection(connect):
    c = connect()
    c.request(0)
    c.fails(PROTOCOL_ERROR)


@rule("6.2")
def headers_with_more_padding_than_payload_end_the_connection(connect):
    c = connect()
    fields = block(c.fields())
    c.send(frame(HEADERS, 0x5 | PADDED, 1, bytes([len(fields) + 1]) + fields))
    c.fails(PROTOCOL_ERROR)


@rule("6.2")
def headers_with_padding_are_taken(connect):
    c = connect()
    c.send(frame(HEADERS, 0x5 | PADDED, 1, pad(block(c.fields()), 6)))
    c.gets_answer(1, 200)


@rule("6.2")
def headers_with_priority_are_taken(connect):
    c = connect()
    payload = struct.pack(">IB", 0, 255) + block(c.fields())
    c.send(frame(HEADERS, 0x5 | PRIORITISED, 1, payload))
    c.gets_answer(1, 200)


@rule("6.2")
def headers_with_padding_and_priority_are_taken(connect):
    c = connect()
    payload = pad(struct.pack(">IB", 0, 255) + block(c.fields()), 6)
    c.send(frame(HEADERS, 0x5 | PRIORITISED | PADDED, 1, payload))
    c.gets_answer(1, 200)


@rule("6.3")
def priority_on_stream_0_ends_the_connection(connect):
    c = connect()
    c.send(priority(0))
    c.fails(PROTOCOL_ERROR)


@rule("6.3")
def a_priority_frame_of_another_length_is_an_error(connect):
    c = connect()
    c.request(1, flags=END_HEADERS)
    c.send(frame(PRIORITY, 0, 1, b"\x80\x00\x00\x01"))
    c.stream_fails(FRAME_SIZE_ERROR)


def priority_then_request(c, *frames, stream=1):
    c.send(*frames)
    c.request(stream)
    c.gets_answer(stream, 200)


@rule("6.3")
def priority_with_weight_1_is_taken(connect):
    priority_then_request(connect(), priority(1, weight=1))


@rule("6.3")
def priority_with_weight_256_is_taken(connect):
    priority_then_request(connect(), priority(1, weight=256))


@rule("6.3")
def priority_with_a_dependency_is_taken(connect):
    priority_then_request(connect(), priority(3, depends_on=1), stream=3)


@rule("6.3")
def exclusive_priority_is_taken(connect):
    priority_then_request(connect(), priority(3, depends_on=1, exclusive=True), stream=3)


@rule("6.3")
def priority_of_an_idle_stream_does_not_close_lower_ones(connect):
    priority_then_request(connect(), priority(11), stream=9)


@rule("6.3")
def priority_of_an_idle_stream_is_taken(connect):
    c = connect()
    c.send(priority(1))
    c.is_alive()


@rule("6.3")
def priority_of_a_half_closed_stream_is_taken(connect):
    c = connect()
    c.request(1)
    c.send(priority(1))
    c.gets_answer(1, 200)


@rule("6.3")
def priority_of_a_closed_stream_is_taken(connect):
    c = connect()
    finished_stream(c)
    c.send(priority(1))
    c.is_alive()


@rule("6.4")
def rst_stream_on_stream_0_ends_the_connection(connect):
    c = connect()
    c.send(rst_stream(0))
    c.fails(PROTOCOL_ERROR)


@rule("6.4")
def rst_stream_of_an_idle_stream_ends_the_connection(connect):
    c = connect()
    c.send(rst_stream(1))
    c.fails(PROTOCOL_ERROR)


@rule("6.4")
def rst_stream_of_another_length_ends_the_connection(connect):
    c = connect()
    c.request(1, flags=END_HEADERS)
    c.send(frame(RST_STREAM, 0, 1, b"\x00\x00\x00"))
    c.fails(FRAME_SIZE_ERROR)


@rule("6.4")
def rst_stream_of_a_half_closed_stream_is_taken(connect):
    c = connect()
    c.request(1)
    c.send(rst_stream(1))
    c.is_alive()


@rule("6.4")
def rst_stream_of_an_open_stream_is_taken(connect):
    c = connect()
    reset_stream(c)
    c.is_alive()


@rule("6.5")
def settings_ack_with_a_payload_ends_the_connection(connect):
    c = connect()
    c.send(frame(SETTINGS, ACK, 0, bytes(6)))
    c.fails(FRAME_SIZE_ERROR)


@rule("6.5")
def settings_on_a_stream_end_the_connection(connect):
    c = connect()
    c.send(frame(SETTINGS, 0, 1, setting((MAX_STREAMS, 100))))
    c.fails(PROTOCOL_ERROR)


@rule("6.5")
def settings_of_another_length_end_the_connection(connect):
    c = connect()
    c.send(frame(SETTINGS, 0, 0, b"\x00\x03\x00"))
    c.fails(FRAME_SIZE_ERROR)


@rule("6.5.2")
def enable_push_is_0_or_1(connect):
    c = connect()
    c.send(frame(SETTINGS, payload=setting((ENABLE_PUSH, 2))))
    c.fails(PROTOCOL_ERROR)


@rule("6.5.2")
def an_initial_window_beyond_the_maximum_ends_the_connection(connect):
    c = connect()
    c.send(frame(SETTINGS, payload=setting((INITIAL_WINDOW, 1 << 31))))
    c.fails(FLOW_CONTROL_ERROR)


@rule("6.5.2")
def a_frame_size_below_the_minimum_ends_the_connection(connect):
    c = connect()
    c.send(frame(SETTINGS, payload=setting((MAX_FRAME, (1 << 14) - 1))))
    c.fails(PROTOCOL_ERROR)


@rule("6.5.2")
def a_frame_size_beyond_the_maximum_ends_the_connection(connect):
    c = connect()
    c.send(frame(SETTINGS, payload=setting((MAX_FRAME, 1 << 24))))
    c.fails(PROTOCOL_ERROR)


@rule("6.5.2")
def an_unknown_setting_is_ignored(connect):
    c = connect()
    c.send(frame(SETTINGS, payload=setting((0xFF, 1))))
    c.is_alive()


@rule("6.5.3")
def of_a_repeated_setting_the_last_counts(connect):
    c = connect(settings=((INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)))
    c.request(1)
    data = c.wait_for(lambda f: f.kind == DATA, "DATA")
    assert len(data.payload) == 1, c.story()


@rule("6.5.3")
def settings_are_acknowledged(connect):
    c = connect()
    c.send(frame(SETTINGS, payload=setting((INITIAL_WINDOW, 70_000))))
    c.wait_for(lambda f: f.kind == SETTINGS and f.flags & ACK, "SETTINGS ACK")


@rule("6.7")
def a_ping_is_answered_with_its_payload(connect):
    connect().is_alive()


@rule("6.7")
def a_ping_ack_is_not_answered(connect):
    c = connect()
    c.send(frame(PING, ACK, 0, b"unwanted"), frame(PING, 0, 0, b"wanted!!"))
    found = c.wait_for(lambda f: f.kind == PING, "PING ACK")
    assert found.flags & ACK and found.payload == b"wanted!!", c.story()


@rule("6.7")
def a_ping_on_a_stream_ends_the_connection(connect):
    c = connect()
    c.send(frame(PING, 0, 1, bytes(8)))
    c.fails(PROTOCOL_ERROR)


@rule("6.7")
def a_ping_of_another_length_ends_the_connection(connect):
    c = connect()
    c.send(frame(PING, 0, 0, bytes(6)))
    c.fails(FRAME_SIZE_ERROR)


@rule("6.8")
def goaway_on_a_stream_ends_the_connection(connect):
    c = connect()
    c.send(frame(GOAWAY, 0, 1, bytes(8)))
    c.fails(PROTOCOL_ERROR)


@rule("6.8")
def a_goaway_is_taken(connect):
    c = connect()
    c.request(1)
    c.send(frame(GOAWAY, 0, 0, bytes(8)))
    c.gets_answer(1, 200)


@rule("6.9")
def a_window_update_of_0_ends_the_connection(connect):
    c = connect()
    c.send(window_update(0, 0))
    c.fails(PROTOCOL_ERROR)


@rule("6.9")
def a_window_update_of_0_on_a_stream_is_an_error(connect):
    c = connect()
    c.request(1, flags=END_HEADERS)
    c.send(window_update(1, 0))
    c.stream_fails(PROTOCOL_ERROR)


@rule("6.9")
def a_window_update_of_another_length_ends_the_connection(connect):
    c = connect()
    c.send(frame(WINDOW_UPDATE, 0, 0, b"\x00\x00\x01"))
    c.fails(FRAME_SIZE_ERROR)


@rule("6.9")
def a_window_update_of_a_half_closed_stream_is_taken(connect):
    c = connect()
    c.request(1)
    c.send(window_update(1, 100))
    c.gets_answer(1, 200)


@rule("6.9")
def a_window_update_of_a_closed_stream_is_taken(connect):
    c = connect()
    finished_stream(c)
    c.send(window_update(1, 100))
    c.is_alive()


@rule("6.9.1")
def no_more_data_comes_than_the_window_allows(connect):
    c = connect()
    c.send(frame(SETTINGS, payload=setting((INITIAL_WINDOW, 1))))
    c.wait_for(lambda f: f.kind == SETTINGS and f.flags & ACK, "SETTINGS ACK")
    c.request(1)
    data = c.wait_for(lambda f: f.kind == DATA, "DATA")
    assert len(data.payload) == 1, c.story()


@rule("6.9.1")
def window_updates_beyond_the_maximum_end_the_connection(connect):
    c = connect()
    c.send(window_update(0, (1 << 31) - 1), window_update(0, (1 << 31) - 1))
    c.fails(FLOW_CONTROL_ERROR)


@rule("6.9.1")
def window_updates_of_a_stream_beyond_the_maximum_are_an_error(connect):
    c = connect()
    c.request(1, flags=END_HEADERS)
    c.send(window_update(1, (1 << 31) - 1), window_update(1, (1 << 31) - 1))
    found = c.wait_for(lambda f: f.kind == RST_STREAM, "RST_STREAM")
    assert found.stream == 1 and found.code() == FLOW_CONTROL_ERROR, c.story()
    c.is_alive()


@rule("6.9.1")
def a_window_update_of_a_half_closed_stream_lets_data_through(connect):
    c = connect(settings=((INITIAL_WINDOW, 0),))
    c.request(1)
    c.send(priority(1), window_update(1, 1))
    data = c.wait_for(lambda f: f.kind == DATA and f.payload, "DATA")
    assert len(data.payload) == 1, c.story()


@rule("6.9.2")
def a_window_that_opens_after_the_request_lets_data_through(connect):
    c = connect(settings=((INITIAL_WINDOW, 0),))
    c.request(1)
    c.gets_answer(1, 200)
    c.send(frame(SETTINGS, payload=setting((INITIAL_WINDOW, 1))))
    data = c.wait_for(lambda f: f.kind == DATA and f.payload, "DATA")
    assert len(data.payload) == 1, c.story()


@rule("6.9.2")
def a_negative_window_is_paid_off_before_data_comes(connect):
    c = connect(settings=((INITIAL_WINDOW, 3),))
    c.request(1, c.fields(path="/long"))
    data = c.wait_for(lambda f: f.kind == DATA, "DATA")
    assert len(data.payload) == 3, c.story()
    c.send(frame(SETTINGS, payload=setting((INITIAL_WINDOW, 2))))
    c.send(window_update(1, 2))  # From -1 to 1.
    data = c.wait_for(lambda f: f.kind == DATA, "DATA")
    assert len(data.payload) == 1, c.story()


@rule("6.9.2")
def an_initial_window_beyond_the_maximum_is_a_flow_control_error(connect):
    c = connect()
    c.send(frame(SETTINGS, payload=setting((INITIAL_WINDOW, (1 << 32) - 1))))
    c.fails(FLOW_CONTROL_ERROR)


def in_pieces(c, fields, pieces, stream=1, flags=END_STREAM):
    """A header block as HEADERS and CONTINUATION frames."""
    whole = block(fields)
    size = len(whole) // pieces + 1
    parts = [whole[i : i + size] for i in range(0, len(whole), size)]
    yield frame(HEADERS, flags, stream, parts[0])
    for part in parts[1:-1]:
        yield frame(CONTINUATION, 0, stream, part)
    yield frame(CONTINUATION, END_HEADERS, stream, parts[-1])


@rule("6.10")
def a_header_block_in_two_pieces_is_taken(connect):
    c = connect()
    c.send(*in_pieces(c, c.fields(), 2))
    c.gets_answer(1, 200)


@rule("6.10")
def a_header_block_in_many_pieces_is_taken(connect):
    c = connect()
    c.send(*in_pieces(c, c.fields(x="y" * 100), 4))
    c.gets_answer(1, 200)


@rule("6.10")
def half_a_header_block_is_followed_by_continuation_only(connect):
    c = connect()
    whole = block(c.fields())
    c.send(frame(HEADERS, END_STREAM, 1, whole[:10]), frame(CONTINUATION, 0, 1, whole[10:20]))
    c.send(frame(DATA, END_STREAM, 1, b"test"))
    c.fails(PROTOCOL_ERROR)


@rule("6.10")
def continuation_behind_data_inside_a_header_block_ends_the_connection(connect):
    c = connect()
    c.send(frame(HEADERS, 0, 1, block(c.fields("POST"))), frame(DATA, END_STREAM, 1, b"test"))
    c.send(frame(CONTINUATION, 0, 1, literal("x", "y")), frame(CONTINUATION, END_HEADERS, 0))
    c.fails(PROTOCOL_ERROR)


@rule("6.10")
def continuations_of_4_kilobytes_each_are_taken(connect):
    c = connect()
    c.send(frame(HEADERS, END_STREAM, 1, block(c.fields())))
    c.send(frame(CONTINUATION, 0, 1, literal("x-dummy0", "x" * 4000)))
    c.send(frame(CONTINUATION, END_HEADERS, 1, literal("x-dummy0", "x" * 4000)))
    c.gets_answer(1, 200)


@rule("6.10")
def continuation_on_stream_0_ends_the_connection(connect):
    c = connect()
    whole = block(c.fields())
    c.send(frame(HEADERS, END_STREAM, 1, whole[:10]))
    c.send(frame(CONTINUATION, END_HEADERS, 0, whole[10:]))
    c.fails(PROTOCOL_ERROR)


@rule("6.10")
def continuation_after_a_whole_header_block_ends_the_connection(connect):
    c = connect()
    c.request(1, flags=END_HEADERS)
    c.send(frame(CONTINUATION, END_HEADERS, 1, literal("x", "y")))
    c.fails(PROTOCOL_ERROR)


@rule("6.10")
def continuation_after_the_last_continuation_ends_the_connection(connect):
    c = connect()
    c.send(*in_pieces(c, c.fields(), 2, flags=0))
    c.send(frame(CONTINUATION, END_HEADERS, 1, literal("x", "y")))
    c.fails(PROTOCOL_ERROR)


@rule("6.10")
def continuation_after_data_ends_the_connection(connect):
    c = connect()
    c.request(1, c.fields("POST"), END_HEADERS)
    c.send(frame(DATA, 0, 1, b"test"), frame(CONTINUATION, END_HEADERS, 1, literal("x", "y")))
    c.fails(PROTOCOL_ERROR)


@rule("7")
def a_goaway_with_an_unknown_code_is_taken(connect):
    c = connect()
    c.request(1)
    c.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0xFF)))
    c.gets_answer(1, 200)


@rule("7")
def a_goaway_of_the_client_ends_a_connection_without_streams(connect):
    c = connect()
    c.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0xFF)))
    c.is_closed()


@rule("6.8")
def a_goaway_that_is_too_short_ends_the_connection(connect):
    c = connect()
    c.send(frame(GOAWAY, 0, 0, bytes(7)))
    c.fails(FRAME_SIZE_ERROR)


@rule("6.9.2")
def a_setting_that_overflows_a_window_ends_the_connection(connect):
    c = connect(settings=((INITIAL_WINDOW, 1),))
    c.request(1, c.fields("POST"), END_HEADERS)
    c.send(window_update(1, (1 << 31) - 2))
    c.send(frame(SETTINGS, payload=setting((INITIAL_WINDOW, 1 << 20))))
    c.fails(FLOW_CONTROL_ERROR)


@rule("4.2")
def headers_too_short_for_their_priority_end_the_connection(connect):
    c = connect()
    c.send(frame(HEADERS, 0x25, 1, bytes(4)))
    c.fails(FRAME_SIZE_ERROR)


@rule("9113 8.5")
def connect_without_an_authority_is_an_error(connect):
    c = connect()
    c.request(1, [(":method", "CONNECT")])
    c.stream_fails(PROTOCOL_ERROR)


@rule("7")
def a_rst_stream_with_an_unknown_code_is_taken(connect):
    c = connect()
    c.request(1, flags=END_HEADERS)
    c.send(rst_stream(1, 0xFF))
    c.is_alive()


@rule("8.2")
def a_push_promise_from_a_client_ends_the_connection(connect):
    c = connect()
    payload = struct.pack(">I", 2) + block(c.fields())
    c.send(frame(PUSH_PROMISE, END_HEADERS, 1, payload))
    c.fails(PROTOCOL_ERROR)
