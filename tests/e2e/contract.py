"""The contract of the data path: what the sidecar must do, where that is written, who holds it.

Each item: (id, duty, source, tests). A test is named by its function; the rows of `h1_rules` that
begin with an item's id belong to it by themselves. `docs/conformance.md` is made from this table:

    target/e2e-venv/bin/python tests/e2e/contract.py
"""

import re
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
PAGE = REPO / "docs" / "conformance.md"

GROUPS = {
    "T": "Request line, target, Host",
    "F": "Fields",
    "B": "Framing of bodies",
    "I": "Interim answers, expectations, upgrades",
    "R": "Connections and retries",
    "E": "Errors and endings",
    "G": "HTTP/2, gRPC, event streams",
    "S": "Threats",
}

ITEMS = [
    (
        "T-01",
        "An origin-form target passes byte for byte; what is no target is refused.",
        "RFC 9110 7.7, RFC 9112 3.2.1",
        [
            "an_origin_form_target_passes_byte_for_byte",
            "bytes_beyond_utf8_pass_in_a_target_and_no_label_shows_them",
            "a_fragment_never_reaches_the_app",
            "test_methods_and_bodies_of_requests_pass",
        ],
    ),
    (
        "T-02",
        "An absolute-form target goes on in origin form; its authority replaces Host.",
        "RFC 9112 3.2.2",
        ["an_absolute_form_target_becomes_origin_form_and_its_authority_becomes_host"],
    ),
    (
        "T-03",
        "`*` belongs to OPTIONS alone, also when it was an absolute form without a path.",
        "RFC 9112 3.2.4",
        ["options_asterisk_passes_as_it_is", "options_asterisk_is_taken", "an_asterisk_for_GET"],
    ),
    (
        "T-04",
        "Authority form is for CONNECT only.",
        "RFC 9112 3.2.3",
        ["targets_that_do_not_belong_to_their_method_are_refused"],
    ),
    (
        "T-05",
        "CONNECT is refused and counted; it ends no other stream.",
        "RFC 9110 9.3.6, RFC 9113 8.5",
        [
            "targets_that_do_not_belong_to_their_method_are_refused",
            "connect_does_not_end_the_connection",
            "CONNECT_with_a_path",
        ],
    ),
    (
        "T-06",
        "A missing, repeated or malformed Host is refused; HTTP/1.0 needs none.",
        "RFC 9112 3.2",
        [
            "requests_that_parse_but_may_not_be_forwarded_are_refused",
            "host_is_checked_as_rfc_9112_demands",
        ],
    ),
    (
        "T-07",
        "Host and `:authority` of an HTTP/2 request agree; one may stand for the other, one there must be.",
        "RFC 9113 8.3.1",
        [
            "another_host",
            "a_request_of_http2_needs_an_authority",
            "host_that_equals_the_authority_is_taken",
            "host_instead_of_the_authority_is_taken",
            "user_information",
        ],
    ),
    (
        "T-08",
        "Host reaches the backend unchanged, as `:authority` where it speaks HTTP/2.",
        "RFC 9110 7.2",
        [
            "host_passes_unchanged_in_every_valid_form",
            "test_the_authority_becomes_host",
            "test_host_becomes_the_authority_of_an_http2_backend",
        ],
    ),
    (
        "T-09",
        "Max-Forwards of OPTIONS and TRACE is counted down, and at 0 answered here.",
        "RFC 9110 7.6.2",
        [
            "max_forwards_zero_is_answered_here_and_more_is_counted_down",
            "max_forwards_counts_down_for_options_and_trace_only",
        ],
    ),
    (
        "T-10",
        "Any token is a method and keeps its case.",
        "RFC 9110 9.1",
        ["any_token_is_a_method_and_passes_in_its_case"],
    ),
    (
        "T-11",
        "A target too long is 414, a head too large 431.",
        "RFC 9110 15.5.15, RFC 6585 5",
        [
            "heads_beyond_the_limits_are_refused",
            "a_large_head_of_http2_is_a_431_and_counted",
            "a_target_beyond_the_limit_is_refused",
            "a_head_just_below_the_limit_passes",
        ],
    ),
    (
        "T-12",
        "The backend is spoken to in HTTP/1.1, or in HTTP/2 where both sides speak it; HTTP/1.0 clients get no chunks.",
        "RFC 9112 2.3, 6.1",
        ["an_http_1_0_client_gets_no_chunks_and_the_end_of_the_connection"],
    ),
    (
        "T-13",
        "A later minor version is taken for 1.1; other versions and malformed request lines are refused.",
        "RFC 9110 2.5, RFC 9112 2.3, 3",
        [
            "a_later_minor_version_is_processed_as_1_1",
            "versions_are_taken_as_rfc_9110_says",
            "requests_that_do_not_parse_are_refused_and_counted_without_a_path",
        ],
    ),
    (
        "T-14",
        "The scheme is told in X-Forwarded-Proto.",
        "RFC 9110 4.2",
        ["the_peer_is_appended_to_x_forwarded_for_and_the_rest_set_where_absent"],
    ),
    (
        "F-01",
        "Fields that Connection names are dropped, in both directions, in any case and on any line.",
        "RFC 9110 7.6.1",
        [
            "hop_by_hop_fields_of_a_request_are_removed_in_any_spelling",
            "hop_by_hop_fields_of_an_answer_are_removed_in_any_spelling",
        ],
    ),
    (
        "F-02",
        "Hop-by-hop fields are dropped.",
        "RFC 9110 7.6.1, 11.7",
        [
            "hop_by_hop_fields_of_a_request_are_removed_in_any_spelling",
            "what_was_prepared_is_a_head_and_has_nothing_hop_by_hop",
        ],
    ),
    (
        "F-03",
        "Connection can remove neither Host nor framing nor our own fields.",
        "RFC 9110 7.6.1",
        ["connection_cannot_remove_host_or_framing_or_our_own_fields"],
    ),
    (
        "F-04",
        "A Connection field that is no text is obeyed all the same.",
        "RFC 9110 5.5",
        ["connection_with_bytes_that_are_not_text_is_understood_all_the_same"],
    ),
    (
        "F-05",
        "Of TE only `trailers` passes.",
        "RFC 9110 10.1.4, RFC 9113 8.2.2",
        ["of_te_only_trailers_passes", "te_trailers_is_taken", "te_gzip"],
    ),
    (
        "F-06",
        "Trailer passes.",
        "RFC 9110 6.6.2",
        ["request_trailers_arrive_where_trailer_announces_them"],
    ),
    (
        "F-07",
        "Unknown fields pass; repeated ones keep their order and stay apart.",
        "RFC 9110 5.1, 5.3",
        [
            "obs_text_and_unknown_fields_pass_and_repeated_ones_keep_their_order",
            "set_cookie_lines_stay_apart_and_in_order",
        ],
    ),
    (
        "F-08",
        "Credentials, validators and conditions pass untouched.",
        "RFC 9110 7.7, 11.6, 13.2.1",
        ["test_methods_and_bodies_of_requests_pass", "test_statuses_and_bodies_of_answers_pass"],
    ),
    (
        "F-09",
        "Control characters in a value are refused; bytes beyond ASCII pass.",
        "RFC 9110 5.5",
        [
            "requests_that_do_not_parse_are_refused_and_counted_without_a_path",
            "a_value_with_LF",
            "a_value_with_CR",
            "a_value_with_NUL",
        ],
    ),
    (
        "F-10",
        "White space before a colon, names that are no tokens and folded lines are refused.",
        "RFC 9112 2.2, 5.1, 5.2",
        ["requests_that_do_not_parse_are_refused_and_counted_without_a_path"],
    ),
    (
        "F-11",
        "A folded line of an answer is unfolded, space before its colon removed.",
        "RFC 9112 5.1, 5.2",
        [
            "a_folded_line_of_an_answer_is_unfolded",
            "white_space_before_a_colon_of_an_answer_is_removed",
        ],
    ),
    ("F-12", "A bare LF is never forwarded.", "RFC 9112 2.2", []),
    (
        "F-13",
        "A bare CR is refused.",
        "RFC 9112 2.2",
        ["requests_that_do_not_parse_are_refused_and_counted_without_a_path"],
    ),
    (
        "F-14",
        "Via is added where it is asked for. Off by default: many backends stop compressing when they see one.",
        "RFC 9110 7.6.3",
        ["via_is_added_only_when_asked_for"],
    ),
    (
        "F-15",
        "The client's address is appended to X-Forwarded-For, or replaces all that proxies say, or nothing is touched; nothing is contradicted.",
        "RFC 7239",
        [
            "appending_contradicts_nothing_that_came_in",
            "replace_leaves_nothing_of_the_family_in_any_spelling",
            "the_peer_is_appended_to_x_forwarded_for_and_the_rest_set_where_absent",
            "forwarding_fields_follow_the_mode",
        ],
    ),
    (
        "F-16",
        "Nothing but Date is added to an answer, and Date only where it is absent.",
        "RFC 9110 6.6.1",
        ["nothing_but_date_is_added_to_an_answer", "test_statuses_and_bodies_of_answers_pass"],
    ),
    (
        "F-17",
        "Aliases of hop-by-hop, framing and forwarding fields are dropped, other names pass.",
        "RFC 3875 4.1.18",
        [
            "a_name_has_one_kind_in_every_spelling",
            "aliases_of_framing_and_forwarding_fields_are_dropped_and_other_names_pass",
        ],
    ),
    (
        "F-18",
        "Names are compared without case; HTTP/2 gets them in lower case.",
        "RFC 9110 5.1",
        [
            "test_the_answer_has_no_connection_specific_field",
            "spelling_and_order_of_fields_are_kept",
        ],
    ),
    (
        "F-19",
        "Heads are bounded in both directions.",
        "RFC 9110 5.4",
        [
            "heads_beyond_the_limits_are_refused",
            "a_head_beyond_the_limit_is_a_502",
            "a_large_head_of_an_http2_answer_is_a_502",
        ],
    ),
    (
        "B-01",
        "A request with both framings is refused and its connection closed.",
        "RFC 9112 6.1, 6.3",
        ["test_the_backend_never_sees_more_requests_than_were_answered"],
    ),
    ("B-02", "Transfer-Encoding in HTTP/1.0 is refused.", "RFC 9112 6.1", []),
    (
        "B-03",
        "A coding that is not exactly one `chunked` is refused.",
        "RFC 9112 6.1, 6.3",
        ["framing_that_two_recipients_could_read_differently_is_refused"],
    ),
    (
        "B-04",
        "A Content-Length that is no plain number, or contradicts another, is refused.",
        "RFC 9112 6.3, RFC 9110 8.6",
        [
            "equal_content_lengths_of_a_request_become_one",
            "a_length_goes_on_as_a_plain_number",
            "a_signed_content-length",
        ],
    ),
    (
        "B-05",
        "Chunks and their extensions are read strictly; extensions are bounded and not forwarded.",
        "RFC 9112 7.1",
        [
            "extensions_are_read_by_their_grammar_and_dropped",
            "a_broken_chunk_is_answered_with_400_and_never_completes_upstream",
            "any_bytes_are_decoded_the_same_in_pieces_of_any_size",
        ],
    ),
    (
        "B-06",
        "A request without framing has no body; a GET may have one.",
        "RFC 9112 6.3, RFC 9110 9.3.1",
        [
            "requests_without_a_body_pass_as_they_are",
            "a_chunked_body_stays_chunked_whatever_the_method",
        ],
    ),
    (
        "B-07",
        "A bad Content-Length of an answer is a 502.",
        "RFC 9112 6.3",
        ["a_contradicting_or_invalid_content_length_is_a_bad_answer"],
    ),
    (
        "B-08",
        "HEAD, 1xx, 204 and 304 have no body; HEAD keeps its Content-Length.",
        "RFC 9112 6.3, RFC 9110 8.6",
        [
            "head_keeps_content_length_and_has_no_body",
            "bodiless_statuses_end_with_their_head",
            "test_head_passes_with_every_status_and_body",
        ],
    ),
    (
        "B-09",
        "Bytes behind a complete answer reach nobody.",
        "RFC 9112 6.3, 9.2",
        ["bytes_after_a_complete_answer_reach_nobody"],
    ),
    (
        "B-10",
        "A known length stays known, an unknown one becomes chunks or the end of the connection.",
        "RFC 9112 6.2",
        [
            "a_body_of_announced_length_keeps_its_length",
            "a_body_that_ends_with_the_connection_becomes_chunks",
        ],
    ),
    (
        "B-11",
        "Trailers pass as trailers; forbidden ones are dropped, those beyond the limit of a head fail loudly.",
        "RFC 9110 6.5.1, RFC 9112 7.1.2",
        [
            "no_trailer_of_http1_says_what_only_a_head_may_say",
            "no_trailer_of_http2_says_what_only_a_head_may_say",
            "trailers_of_an_http2_answer_pass_whole_or_fail_loudly",
            "trailers_of_an_http1_answer_pass_whole_or_fail_loudly",
            "large_trailers_of_a_request_are_a_431_and_never_complete_upstream",
            "response_trailers_arrive_at_a_client_that_takes_them",
            "trailers_cannot_smuggle_header_fields",
            "test_trailers_pass_both_ways",
        ],
    ),
    (
        "B-12",
        "A cut answer is an error for the client, never a clean end.",
        "RFC 9112 8",
        [
            "test_the_backend_dies",
            "test_a_reset_in_the_middle_of_an_answer_is_an_error_for_the_client",
        ],
    ),
    (
        "B-13",
        "A cut upload never completes at the backend.",
        "RFC 9112 8",
        ["test_the_client_dies", "test_a_cut_upload_never_completes_at_the_backend"],
    ),
    (
        "B-14",
        "The rest of a body is never read as a request.",
        "RFC 9112 9.3",
        [
            "test_the_rest_of_an_upload_is_never_read_as_a_request",
            "a_refused_request_with_a_body_does_not_leave_its_body_to_be_read_as_a_request",
        ],
    ),
    (
        "B-15",
        "Content-Length of an HTTP/2 request is the sum of its DATA.",
        "RFC 9113 8.1.1",
        [
            "a_content_length_that_is_not_the_sum_of_the_data_is_an_error",
            "a_content_length_beyond_the_data_is_an_error",
        ],
    ),
    (
        "B-16",
        "Memory is bounded by back-pressure in both directions.",
        "-",
        [
            "a_client_that_does_not_read_stops_the_backend",
            "a_backend_that_does_not_read_stops_the_client",
            "test_bodies_of_two_gigabytes_pass_in_constant_memory",
        ],
    ),
    (
        "I-01",
        "Interim answers pass as they come, not to HTTP/1.0.",
        "RFC 9110 15.2",
        [
            "test_interim_answers_are_forwarded_as_they_come",
            "test_an_http_1_0_client_gets_no_interim_answer",
            "test_node_hears_of_early_hints",
        ],
    ),
    (
        "I-02",
        "100 Continue comes from the backend; without it no body goes there, for one second.",
        "RFC 9110 10.1.1",
        [
            "test_no_byte_of_the_body_is_asked_for_or_sent_before_the_backends_100",
            "test_a_backend_that_never_says_100_gets_the_body_after_a_second",
        ],
    ),
    (
        "I-03",
        "A connection whose expectation was refused serves no other request.",
        "RFC 9112 9.3",
        ["test_the_connection_of_a_refused_expectation_serves_no_other_request"],
    ),
    (
        "I-04",
        "Expect of HTTP/1.0 is ignored, an unknown one passes.",
        "RFC 9110 10.1.1",
        [
            "test_expect_of_an_http_1_0_client_is_answered_without_100",
            "an_expectation_that_nobody_knows_passes",
        ],
    ),
    (
        "I-05",
        "An upgrade needs `Connection: upgrade`, and the 101 a protocol that was offered.",
        "RFC 9110 7.8",
        ["test_a_101_to_what_nobody_offered_is_a_502", "test_nothing_is_tunnelled_before_the_101"],
    ),
    (
        "I-06",
        "A 101 that nobody asked for is a 502.",
        "RFC 9110 7.8",
        ["a_101_that_nobody_asked_for_is_a_502"],
    ),
    (
        "I-07",
        "A refused upgrade is an answer like any other.",
        "RFC 9110 15.5.22",
        ["test_a_refused_upgrade_is_an_answer_like_any_other"],
    ),
    (
        "I-08",
        "Bytes behind the handshake are kept, half-closes pass, both sides end together.",
        "RFC 9110 7.8",
        [
            "test_bytes_right_behind_the_handshake_are_not_lost_on_either_side",
            "test_a_half_close_passes_and_the_other_half_stays_open",
            "test_when_one_side_resets_the_other_side_ends",
        ],
    ),
    (
        "I-09",
        "An upgrade to h2c is not forwarded.",
        "RFC 9113 3.1",
        ["a_request_for_h2c_is_answered_like_any_other"],
    ),
    ("I-10", "WebSocket over HTTP/2 is off.", "RFC 8441", [":protocol_without_the_setting"]),
    (
        "R-01",
        "A request that is not idempotent is never sent twice.",
        "RFC 9110 9.2.2",
        [
            "a_post_that_was_written_is_never_sent_again",
            "a_post_is_never_sent_twice_however_the_close_races_with_it",
            "test_another_reset_is_not_sent_again",
            "test_what_may_have_been_processed_is_not_sent_again",
        ],
    ),
    (
        "R-02",
        "An idempotent one is sent once more where a reused connection was stale.",
        "RFC 9112 9.3.1",
        [
            "an_idempotent_request_on_a_stale_connection_is_sent_once_more",
            "it_is_not_sent_a_third_time",
            "test_an_idempotent_request_on_a_connection_that_ends_is_sent_once_more",
            "once_a_byte_of_the_answer_came_nothing_is_sent_again",
        ],
    ),
    (
        "R-03",
        "Refused streams and streams beyond GOAWAY are sent again, once.",
        "RFC 9113 8.7",
        [
            "test_a_refused_stream_is_sent_again",
            "test_requests_beyond_the_last_stream_of_a_goaway_are_sent_again_elsewhere",
            "test_a_request_with_a_body_goes_elsewhere_when_a_connection_takes_no_more_streams",
            "test_a_stream_that_is_always_refused_is_not_sent_a_third_time",
        ],
    ),
    (
        "R-04",
        "Close and Keep-Alive of the backend are honoured.",
        "RFC 9112 9.3, 9.6",
        [
            "an_upstream_that_says_close_is_not_asked_again_on_that_connection",
            "an_upstreams_keep_alive_timeout_is_honoured_with_a_margin",
        ],
    ),
    (
        "R-05",
        "A pooled connection that ended is not used.",
        "-",
        [
            "a_post_after_the_backend_closed_goes_to_a_fresh_connection_once",
            "test_connections_that_gunicorn_closes_meanwhile_cost_no_request_and_send_none_twice",
        ],
    ),
    (
        "R-06",
        "Connection: close concerns one connection and is not passed on.",
        "RFC 9112 9.6",
        ["a_client_that_asks_for_the_end_gets_it_and_the_backend_is_not_told"],
    ),
    (
        "E-01",
        "Each failure has its status and its `error` label.",
        "RFC 9110 15.5, 15.6, RFC 9209",
        [
            "an_error_has_one_status_one_token_and_one_grpc_status",
            "a_connection_that_does_not_open_in_time_is_a_504",
            "a_head_that_does_not_come_in_time_is_a_408",
        ],
    ),
    (
        "E-02",
        "An error after the head cuts the answer and keeps its status.",
        "-",
        ["test_the_backend_dies", "test_a_cut_answer_resets_the_stream_and_no_other"],
    ),
    (
        "E-03",
        "Our own answers are short and plain, and in gRPC's form to a gRPC call.",
        "-",
        [
            "test_an_error_of_the_sidecar_is_a_grpc_answer_without_a_page",
            "test_a_backend_that_is_down_is_unavailable",
            "test_a_backend_that_does_not_answer_in_time_exceeds_the_deadline",
        ],
    ),
    (
        "E-04",
        "A client that leaves cancels the work of the backend at once, as a 499.",
        "-",
        [
            "a_client_that_resets_before_the_head_is_a_499_and_the_backend_is_told",
            "test_a_reset_request_is_cancelled_at_the_backend_at_once",
            "test_a_client_that_leaves_resets_the_stream_at_the_backend",
        ],
    ),
    (
        "E-05",
        "A half-closed client still gets its answer.",
        "RFC 9112 9.6",
        ["a_client_that_half_closes_gets_its_answer"],
    ),
    (
        "E-06",
        "An early answer is read though the upload goes on.",
        "RFC 9112 9.3, 9.5",
        [
            "test_a_client_that_sends_everything_before_it_reads_gets_the_early_answer",
            "test_curl_reads_an_early_answer",
            "test_requests_reads_an_early_answer",
            "test_httpx_reads_an_early_answer",
            "test_node_reads_an_early_answer_with_http_and_fetch",
        ],
    ),
    (
        "E-07",
        "The drain finishes what is under way, and is bounded.",
        "RFC 9113 6.8",
        [
            "test_http1_under_load_drains_without_a_failed_request",
            "test_http2_under_load_drains_without_a_failed_request",
            "test_tunnels_under_load_are_held_until_they_end",
            "test_the_drain_ends_a_tunnel_at_its_deadline",
            "test_the_drain_does_not_wait_for_a_client_that_does_not_acknowledge",
            "test_the_drain_says_goaway_and_finishes_the_streams",
        ],
    ),
    (
        "E-08",
        "The sidecar never forwards to itself.",
        "RFC 9110 7.6",
        ["forwarding_to_ourselves_is_found"],
    ),
    (
        "E-09",
        "Pipelined requests are answered in order, a good one before a bad one too.",
        "RFC 9112 9.3.2",
        [
            "pipelined_requests_are_answered_in_order",
            "a_good_request_before_a_bad_one_is_still_answered",
        ],
    ),
    (
        "E-10",
        "Empty lines before a request are ignored.",
        "RFC 9112 2.2",
        ["empty_lines_before_a_request_are_ignored"],
    ),
    (
        "E-11",
        "HTTP/1.0 stays connected where it asks for it.",
        "RFC 9112 9.3",
        ["an_http_1_0_client_that_asks_for_it_keeps_its_connection"],
    ),
    (
        "G-01",
        "Names, pseudo-fields and values of HTTP/2 are held to its rules.",
        "RFC 9113 8.2, 10.3",
        [
            "a_malformed_head_of_http2_is_answered_with_400_and_counted",
            "test_rule",
            "test_no_case_of_httpwg_fails_without_an_explanation",
            "an_upper-case_name",
            "a_value_that_begins_with_a_space",
        ],
    ),
    (
        "G-02",
        "Method, path and authority of HTTP/2 are valid in HTTP/1 too.",
        "RFC 9113 8.3.1",
        ["a_path_with_a_space", "a_method_with_a_space", "a_path_without_a_slash"],
    ),
    (
        "G-03",
        "Cookie crumbs are joined for an HTTP/1 backend.",
        "RFC 9113 8.2.3",
        [
            "test_cookie_crumbs_are_joined_for_an_http1_backend",
            "test_cookies_and_repeated_fields_pass_to_an_http2_backend",
        ],
    ),
    (
        "G-04",
        "gRPC's status passes in trailers and alone, and is a label.",
        "gRPC over HTTP/2",
        [
            "test_a_status_and_its_message_pass",
            "test_a_status_after_messages_passes",
            "test_an_unknown_method_is_unimplemented",
        ],
    ),
    (
        "G-05",
        "Cancellation and deadlines pass; both directions flow at once.",
        "gRPC over HTTP/2",
        [
            "test_a_cancelled_call_is_cancelled_at_the_backend",
            "test_a_deadline_reaches_the_backend_and_ends_the_call_there",
            "test_each_message_of_a_ping_pong_passes_before_the_next_is_sent",
        ],
    ),
    (
        "G-06",
        "At the stream limit of a backend a further connection is opened.",
        "RFC 9113 5.1.2",
        ["test_more_than_one_connection_is_opened_at_the_stream_limit"],
    ),
    (
        "G-07",
        "GOAWAY is obeyed, and sent when we drain.",
        "RFC 9113 6.8",
        [
            "test_requests_beyond_the_last_stream_of_a_goaway_are_sent_again_elsewhere",
            "test_the_drain_says_goaway_and_finishes_the_streams",
        ],
    ),
    (
        "G-08",
        "PING is answered.",
        "RFC 9113 6.7",
        ["a_ping_is_answered_with_its_payload", "a_ping_ack_is_not_answered"],
    ),
    (
        "G-09",
        "Every event passes at once; streams have metrics of their own.",
        "WHATWG HTML 9.2",
        [
            "test_each_event_arrives_at_once",
            "test_each_event_arrives_at_once_over_http2",
            "test_the_head_arrives_while_no_event_was_sent",
            "test_a_stream_is_counted_and_timed_apart_from_requests",
        ],
    ),
    (
        "G-10",
        "ALPN chooses HTTP/2 or HTTP/1.1, and HTTP/2 is held to; TLS that ends without close_notify is a cut.",
        "RFC 7301, RFC 9110 4.3",
        [
            "where_alpn_has_chosen_http2_nothing_else_is_served",
            "alpn_prefers_http2_and_without_a_choice_it_is_http1",
            "a_close_without_close_notify_is_an_error_on_either_side",
        ],
    ),
    (
        "S-01",
        "The metrics port serves its pages and nothing else.",
        "-",
        ["probes_and_errors_answer_plainly", "at_most_two_pages_are_made_at_a_time"],
    ),
    (
        "S-02",
        "Nobody can inject labels or lines.",
        "-",
        ["label_values_have_the_three_legal_escapes", "any_path_gets_a_short_plain_name"],
    ),
    (
        "S-03",
        "A million paths do not grow the series.",
        "-",
        ["test_a_million_paths_and_ten_thousand_methods_stay_within_the_bounds"],
    ),
    (
        "S-04",
        "Unknown methods share one label.",
        "-",
        ["two_thousand_methods_are_one_label", "an_unknown_method_is_other"],
    ),
    (
        "S-05",
        "Statuses are bounded labels.",
        "-",
        ["statuses_and_methods_beyond_the_row_budget_are_counted_by_class"],
    ),
    ("S-07", "Large heads are refused.", "RFC 6585 5", ["heads_beyond_the_limits_are_refused"]),
    (
        "S-08",
        "Floods of connections and a lack of descriptors are survived.",
        "-",
        [
            "test_9900_idle_sockets_cost_little_and_a_good_client_is_served",
            "test_without_file_descriptors_clients_wait_and_are_served_once_there_are_some",
            "a_connection_over_the_limit_gets_a_503_where_none_is_idle",
        ],
    ),
    (
        "S-09",
        "Floods of HTTP/2 are bounded.",
        "RFC 9113 10.5",
        [
            "test_a_flood_is_bounded_and_a_good_client_is_served",
            "test_a_client_with_zero_windows_does_not_make_us_buffer",
            "test_requests_that_are_reset_at_once_are_hardly_any_work_for_the_app",
            "streams_beyond_the_limit_are_refused",
        ],
    ),
    (
        "S-10",
        "Slow clients hold nobody up.",
        "-",
        [
            "test_slowhttptest_does_not_make_the_service_unavailable",
            "test_a_thousand_slow_uploads_do_not_starve_the_rest",
            "test_a_client_that_reads_a_kilobyte_a_second_does_not_make_us_buffer",
            "test_a_silent_connection_is_closed_after_the_header_timeout",
            "test_a_window_that_stays_closed_is_not_waited_for_longer_than_an_idle_client",
            "test_an_idle_client_that_does_not_acknowledge_goaway_is_closed",
            "test_a_client_that_reads_nothing_at_all_is_closed",
        ],
    ),
    (
        "S-11",
        "A silent backend is given up where that is asked for.",
        "-",
        [
            "an_answer_that_does_not_come_in_time_is_a_504",
            "a_slow_answer_is_not_cut_by_the_head_or_idle_limit",
        ],
    ),
    (
        "S-12",
        "No request is smuggled, and every head we send has one meaning.",
        "RFC 9112 11.2",
        [
            "test_the_backend_never_sees_more_requests_than_were_answered",
            "test_whatever_is_refused_ends_the_connection",
            "test_every_request_head_we_send_is_judged_compliant",
            "test_what_reaches_the_backend_is_whole_messages_and_nothing_between",
        ],
    ),
    (
        "S-13",
        "Forwarding fields of clients can be replaced.",
        "RFC 7239 8.1",
        [
            "forwarding_fields_follow_the_mode",
            "replace_leaves_nothing_of_the_family_in_any_spelling",
        ],
    ),
    (
        "S-15",
        "Log lines cannot be forged.",
        "-",
        [
            "no_byte_of_a_request_can_forge_a_line",
            "test_there_is_one_line_for_each_request_and_nobody_can_forge_another",
        ],
    ),
    (
        "S-17",
        "Nothing that a peer sends ends the program.",
        "-",
        ["test_rule", "test_a_flood_is_bounded_and_a_good_client_is_served"],
    ),
    (
        "S-18",
        "Each request is counted once and nothing stays in flight.",
        "-",
        [
            "refused_streams_are_told_apart_from_those_that_pass_in_one_write",
            "what_cannot_be_decoded_ends_the_connection_and_is_counted_once",
            "test_counts_equal_what_wrk_h2load_hey_and_ab_report",
            "test_h2load_counts_what_the_sidecar_counts",
            "test_the_client_dies",
        ],
    ),
    (
        "S-19",
        "TLS 1.2 and later, ALPN, reload without loss.",
        "RFC 9325",
        [
            "tls_1_2_and_1_3_are_spoken_and_the_asked_name_is_ignored",
            "a_reload_changes_new_connections_and_leaves_open_ones_alone",
        ],
    ),
    (
        "S-20",
        "A request never chooses its backend.",
        "RFC 9110 7.6",
        [
            "an_absolute_form_target_becomes_origin_form_and_its_authority_becomes_host",
            "forwarding_to_ourselves_is_found",
        ],
    ),
    ("S-21", "Scrapes are bounded.", "-", ["at_most_two_pages_are_made_at_a_time"]),
]

GATES = [
    (
        "Transparency",
        "The same request, directly and through the sidecar: only named fields differ.",
        [
            "test_methods_and_bodies_of_requests_pass",
            "test_statuses_and_bodies_of_answers_pass",
            "test_head_passes_with_every_status_and_body",
        ],
    ),
    (
        "Truncation",
        "Either side dies in every phase: the other sees an error, the metric says why.",
        [
            "test_the_backend_dies",
            "test_the_client_dies",
            "test_a_cut_upload_never_completes_at_the_backend",
            "test_a_reset_in_the_middle_of_an_answer_is_an_error_for_the_client",
        ],
    ),
    (
        "Smuggling",
        "159 cases of http_desync_guardian, and its verdict on every head we send.",
        [
            "test_the_backend_never_sees_more_requests_than_were_answered",
            "test_whatever_is_refused_ends_the_connection",
            "test_every_request_head_we_send_is_judged_compliant",
        ],
    ),
    (
        "Stale connections",
        "A backend that closes meanwhile costs no request, and no POST is sent twice.",
        [
            "test_connections_that_gunicorn_closes_meanwhile_cost_no_request_and_send_none_twice",
            "a_post_is_never_sent_twice_however_the_close_races_with_it",
        ],
    ),
    (
        "Expectations and early answers",
        "Real clients always read the answer.",
        [
            "test_curl_reads_a_refused_expectation",
            "test_node_does_not_upload_what_is_refused",
            "test_a_client_that_sends_everything_before_it_reads_gets_the_early_answer",
        ],
    ),
    (
        "Interim answers, event streams",
        "103 and every event pass at once.",
        ["test_interim_answers_are_forwarded_as_they_come", "test_each_event_arrives_at_once"],
    ),
    (
        "WebSocket",
        "Python and Node on both sides: sizes, pings, close codes, compression.",
        [
            "test_messages_of_all_sizes_come_back",
            "test_a_frame_of_16_mib_comes_back",
            "test_close_codes_pass",
            "test_a_node_client_gets_everything_back",
        ],
    ),
    (
        "gRPC",
        "All shapes with grpcio and Node.",
        [
            "test_a_message_of_any_size_passes_both_ways",
            "test_a_server_stream_passes",
            "test_each_message_of_a_ping_pong_passes_before_the_next_is_sent",
            "test_a_node_client_passes_in_all_shapes",
        ],
    ),
    (
        "HTTP/2",
        "httpwg's cases, and 199 rules of our own as raw frames, in plain text and inside TLS.",
        [
            "test_no_case_of_httpwg_fails_without_an_explanation",
            "test_there_are_as_many_rules_as_strict_suites_have",
        ],
    ),
    (
        "Floods",
        "Memory stays bounded and a good client is served.",
        [
            "test_a_flood_is_bounded_and_a_good_client_is_served",
            "test_slowhttptest_does_not_make_the_service_unavailable",
            "test_9900_idle_sockets_cost_little_and_a_good_client_is_served",
            "test_a_million_paths_and_ten_thousand_methods_stay_within_the_bounds",
        ],
    ),
    (
        "Drain",
        "SIGTERM under load costs nothing but new connections.",
        [
            "test_http1_under_load_drains_without_a_failed_request",
            "test_http2_under_load_drains_without_a_failed_request",
            "test_tunnels_under_load_are_held_until_they_end",
        ],
    ),
    (
        "Exactness",
        "What load tools sent is what is counted.",
        [
            "test_counts_equal_what_wrk_h2load_hey_and_ab_report",
            "test_h2load_counts_what_the_sidecar_counts",
        ],
    ),
]


def definitions():
    """{name: [files]} of all tests and rules."""
    found = {}
    sources = [*REPO.glob("src/**/*.rs"), *REPO.glob("tests/it/*.rs"), *REPO.glob("tests/e2e/*.py")]
    for path in sorted(sources):
        pattern = r"#\[test\]\s+fn (\w+)" if path.suffix == ".rs" else r"^def (\w+)"
        for name in re.findall(pattern, path.read_text(), re.M):
            if path.suffix == ".rs" or name.startswith("test_"):
                found.setdefault(name, []).append(path.relative_to(REPO).as_posix())
    return found


def rules():
    """{name: file} of the HTTP/2 rules, and {item: [claims]} of the HTTP/1 rows."""
    import h2_message_rules  # noqa: F401  Adds its rules.
    from h1_rules import RULES as h1
    from h2_rules import RULES as h2

    rows = {}
    for row in h1:
        rows.setdefault(row[0].split()[0], []).append(row[1])
    return {name for _, name, _ in h2}, rows


def lines():
    """The page, line by line. An item without a test, or a test that is gone, is a ValueError."""
    known, (h2, rows) = definitions(), rules()
    unknown = set(rows) - {item[0] for item in ITEMS}
    if unknown:
        raise ValueError(f"rows of h1_rules name items that are not here: {unknown}")
    yield from HEAD
    for letter, title in GROUPS.items():
        yield from (
            "",
            f"## {title}",
            "",
            "| item | duty | source | held by |",
            "| --- | --- | --- | --- |",
        )
        for item, duty, source, tests in ITEMS:
            if item.startswith(letter):
                held = [reference(name, known, h2) for name in tests]
                if item in rows:
                    held.append(f"`test_h1_strict.py`: {len(rows[item])} rows")
                if not held:
                    raise ValueError(f"{item} has no test")
                yield f"| {item} | {duty} | {source} | {'<br>'.join(held)} |"
    yield from ("", "## Gates", "", "| gate | what must hold | held by |", "| --- | --- | --- |")
    for gate, claim, tests in GATES:
        held = "<br>".join(reference(name, known, h2) for name in tests)
        yield f"| {gate} | {claim} | {held} |"


def reference(name, known, h2):
    if name in h2:
        return f"`test_h2_strict.py`: `{name}`"
    if name not in known:
        raise ValueError(f"no test is named {name}")
    return f"`{known[name][0]}`: `{name}`"


HEAD = """# Conformance

What the sidecar must do with every request, where that is written, and which test holds it. This
page is made by `tests/e2e/contract.py` and a test fails when it is stale, when an item has no test,
or when a test that it names is gone. The rows of the HTTP/1 rules are in `tests/e2e/h1_rules.py`,
the HTTP/2 rules in `tests/e2e/h2_rules.py` and `tests/e2e/h2_message_rules.py`.""".split("\n")


if __name__ == "__main__":
    PAGE.write_text("\n".join(lines()) + "\n")
    print(f"{PAGE.relative_to(REPO)}: {len(ITEMS)} items", file=sys.stderr)
