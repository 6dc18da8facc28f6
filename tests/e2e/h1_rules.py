"""The rules of HTTP/1.1 for servers and proxies, each a row: what is sent, what must come of it.

A row is (item, claim, bytes, statuses, then, seen):
* `item` names the item of the contract (docs/conformance.md) and the RFC section;
* `bytes` are sent as they are; a list is sent piece by piece, with a pause between;
* `statuses` is the status of the answer; a tuple means any of them; a list, one answer each;
* `then` is CLOSES (the connection must end), STAYS (it must serve another request) or ANY;
* `seen` is what the backend must have received: NOTHING, or a list of byte strings that must all
  be there, or a function of all the bytes.
"""

CLOSES, STAYS, ANY = "closes", "stays", "any"
NOTHING = None
HOST = b"Host: app\r\n"
BAD = (400,)


def get(fields=b"", target=b"/", host=HOST, version=b"HTTP/1.1", method=b"GET"):
    return method + b" " + target + b" " + version + b"\r\n" + host + fields + b"\r\n"


def post(fields, body=b""):
    return b"POST / HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body


def chunked(body, fields=b""):
    return post(b"Transfer-Encoding: chunked\r\n" + fields, body)


def lacks(*words):
    """No connection to the backend carried any of these words."""
    return lambda data: not any(w.lower() in data.lower() for w in words)


def once(word):
    return lambda data: data.count(word) == 1


WHOLE = b"5\r\nhello\r\n0\r\n\r\n"
LONG = b"y" * 70_000

RULES = [
    # --- the request line --------------------------------------------------------------------
    ("T-01 9112 3", "a plain request passes", get(), 200, STAYS, [b"GET / HTTP/1.1\r\n"]),
    ("T-01 9110 7.7", "a target is not normalised", get(target=b"/a/../b//c/./%2e%2F?x=%zz&;=//"),
     200, STAYS, [b"GET /a/../b//c/./%2e%2F?x=%zz&;=// HTTP/1.1\r\n"]),
    ("T-01 9112 3", "a fragmented method passes", [b"G", b"E", b"T / HTTP/1.1\r\nHost: app\r\n\r\n"],
     200, STAYS, [b"GET / "]),
    ("T-01 9112 3", "a fragmented target passes", [b"GET ", b"/he", b"llo", b" HTTP/1.1\r\nHost: a\r\n\r\n"],
     200, STAYS, [b"GET /hello "]),
    ("T-01 9112 3", "a fragmented version passes", [b"GET / HT", b"TP/1.", b"1\r", b"\nHost: a\r\n\r\n"],
     200, STAYS, [b"GET / "]),
    ("F-07 9112 5", "fragmented fields pass", [b"GET / HTTP/1.1\r\nHo", b"st: ap", b"p\r", b"\nX: y\r\n", b"\r", b"\n"],
     200, STAYS, [b"app"]),
    ("E-10 9112 2.2", "empty lines before a request are ignored", b"\r\n\r\n" + get(), 200, STAYS, [b"GET / "]),
    ("T-10 9110 9.1", "any token is a method", get(method=b"M-SEARCH"), 200, STAYS, [b"M-SEARCH / "]),
    ("T-10 9110 9.1", "a method keeps its case", get(method=b"get"), 200, STAYS, [b"get / "]),
    ("T-10 9110 5.6.2", "a method that is no token", get(method=b"GE(T"), BAD, CLOSES, NOTHING),
    ("T-10 9112 3", "an empty method", b" / HTTP/1.1\r\nHost: a\r\n\r\n", BAD, CLOSES, NOTHING),
    ("T-10 9112 3", "white space before the method", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", BAD, CLOSES, NOTHING),
    ("T-10 9112 3", "two words before the target", b"Extra lineGET / HTTP/1.1\r\nHost: a\r\n\r\n", BAD, CLOSES, NOTHING),
    ("T-13 9112 3", "two spaces before the target", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BAD, CLOSES, NOTHING),
    ("T-13 9112 3", "two spaces before the version", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", BAD, CLOSES, NOTHING),
    ("T-13 9112 3", "a tab in the request line", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD, CLOSES, NOTHING),
    ("T-13 9112 3", "white space behind the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", BAD, CLOSES, NOTHING),
    ("T-13 9112 3", "a space in the target", get(target=b"/a b"), BAD, CLOSES, NOTHING),
    ("T-01 9112 3.2", "a fragment in the target", get(target=b"/a#b"), BAD, CLOSES, NOTHING),
    ("T-01 9112 3.2", "a control character in the target", get(target=b"/a\x01b"), BAD, CLOSES, NOTHING),
    ("T-01 9112 3.2", "NUL in the target", get(target=b"/a\0b"), BAD, CLOSES, NOTHING),
    ("T-01 9112 3.2", "DEL in the target", get(target=b"/a\x7fb"), BAD, CLOSES, NOTHING),
    ("T-13 9112 2.3", "no version", b"GET /\r\nHost: a\r\n\r\n", BAD, CLOSES, NOTHING),
    ("T-13 9112 2.3", "a lower-case version", get(version=b"http/1.1"), BAD, CLOSES, NOTHING),
    ("T-13 9112 2.3", "another protocol", get(version=b"HTTPS/1.1"), BAD, CLOSES, NOTHING),
    ("T-13 9112 2.3", "version 9.9", get(version=b"HTTP/9.9"), (400, 505), CLOSES, NOTHING),
    ("T-13 9112 2.3", "version 2.0", get(version=b"HTTP/2.0"), (400, 505), CLOSES, NOTHING),
    ("T-13 9112 2.3", "version 0.9", get(version=b"HTTP/0.9"), (400, 505), CLOSES, NOTHING),
    ("T-13 9112 2.3", "version 1.11", get(version=b"HTTP/1.11"), (400, 505), CLOSES, NOTHING),
    ("T-13 9112 2.3", "version 1,1", get(version=b"HTTP/1,1"), (400, 505), CLOSES, NOTHING),
    ("T-13 9112 2.3", "version 1", get(version=b"HTTP/1"), (400, 505), CLOSES, NOTHING),
    ("T-11 9110 15.5.15", "a target beyond the limit", get(target=b"/" + LONG), (414, 431), CLOSES, NOTHING),
    ("T-11 6585 5", "a field beyond the limit", get(b"X: " + LONG + b"\r\n"), 431, CLOSES, NOTHING),
    ("T-11 6585 5", "fields beyond the limit together", get(b"X: y\r\n" * 20_000), 431, CLOSES, NOTHING),
    ("T-11 9112 3", "a target of 8000 bytes passes", get(target=b"/" + b"y" * 8000), 200, STAYS, [b"y" * 8000]),
    # --- the target and Host -----------------------------------------------------------------
    ("T-02 9112 3.2.2", "absolute form becomes origin form, its authority Host",
     get(target=b"http://other:81/x?y", host=b"Host: app\r\n"), 200, STAYS,
     lambda d: b"GET /x?y HTTP/1.1\r\n" in d and b"other:81" in d and b"app" not in d),
    ("T-02 9112 3.2.2", "absolute form without a path becomes a slash",
     get(target=b"http://other", host=b"Host: other\r\n"), 200, STAYS, [b"GET / HTTP/1.1\r\n"]),
    ("T-02 9112 3.2.2", "absolute form with a query and no path",
     get(target=b"http://other?a=b", host=b"Host: other\r\n"), 200, STAYS, [b"GET /?a=b HTTP/1.1\r\n"]),
    ("T-02 9112 3.2.2", "absolute form with user information",
     get(target=b"http://user:pass@other/"), BAD, CLOSES, NOTHING),
    ("T-02 9110 4.2.1", "absolute form without a host", get(target=b"http:///x"), BAD, CLOSES, NOTHING),
    ("T-03 9112 3.2.4", "OPTIONS * passes", get(target=b"*", method=b"OPTIONS"), 200, STAYS,
     [b"OPTIONS * HTTP/1.1\r\n"]),
    ("T-03 9112 3.2.4", "absolute OPTIONS without a path becomes *",
     get(target=b"http://app", method=b"OPTIONS"), 200, STAYS, [b"OPTIONS * HTTP/1.1\r\n"]),
    ("T-03 9112 3.2.4", "* for another method", get(target=b"*"), BAD, CLOSES, NOTHING),
    ("T-04 9112 3.2.3", "authority form for GET", get(target=b"app:80"), BAD, CLOSES, NOTHING),
    ("T-04 9112 3.2", "a target without a slash", get(target=b"index.html"), BAD, CLOSES, NOTHING),
    ("T-05 9110 9.3.6", "CONNECT is refused", get(target=b"app:80", method=b"CONNECT"), (405, 501), CLOSES, NOTHING),
    ("T-05 9110 9.3.6", "CONNECT without a port is refused", get(target=b"app", method=b"CONNECT"),
     (400, 405, 501), CLOSES, NOTHING),
    ("T-06 9112 3.2", "no Host", get(host=b""), BAD, CLOSES, NOTHING),
    ("T-06 9112 3.2", "two Hosts", get(host=HOST * 2), BAD, CLOSES, NOTHING),
    ("T-06 9112 3.2", "two different Hosts", get(host=HOST + b"Host: b\r\n"), BAD, CLOSES, NOTHING),
    ("T-06 9112 3.2", "Host with a space", get(host=b"Host: a b\r\n"), BAD, CLOSES, NOTHING),
    ("T-06 9112 3.2", "Host with a path", get(host=b"Host: a/b\r\n"), BAD, CLOSES, NOTHING),
    ("T-06 9112 3.2", "Host with user information", get(host=b"Host: u@a\r\n"), BAD, CLOSES, NOTHING),
    ("T-06 9112 3.2", "Host list", get(host=b"Host: a, b\r\n"), BAD, CLOSES, NOTHING),
    ("T-06 9112 3.2", "Host with a bad port", get(host=b"Host: a:b\r\n"), BAD, CLOSES, NOTHING),
    ("T-06 9112 3.2", "Host with a bad address", get(host=b"Host: [::1\r\n"), BAD, CLOSES, NOTHING),
    ("T-06 9112 3.2", "absolute form without Host", get(target=b"http://a/", host=b""), BAD, CLOSES, NOTHING),
    ("T-06 9112 3.2", "an empty Host is valid", get(host=b"Host:\r\n"), 200, STAYS, [b"GET / "]),
    ("T-06 9112 3.2", "HTTP/1.0 needs no Host, but HTTP/1.1 to the backend does",
     get(host=b"", version=b"HTTP/1.0"), 200, CLOSES, [b"GET / ", b"\r\nHost: 127.0.0.1:"]),
    ("T-08 9110 7.2", "Host passes with its port", get(host=b"hoSt:\texample.com:8080\r\n"), 200, STAYS,
     [b": example.com:8080\r\n"]),
    ("T-08 9110 7.2", "an IPv6 Host passes", get(host=b"Host: [::1]:80\r\n"), 200, STAYS, [b": [::1]:80\r\n"]),
    ("T-09 9110 7.6.2", "Max-Forwards 0 is answered here",
     get(b"Max-Forwards: 0\r\n", method=b"OPTIONS"), (200, 204), STAYS, NOTHING),
    ("T-09 9110 7.6.2", "Max-Forwards is counted down",
     get(b"Max-Forwards: 5\r\n", method=b"OPTIONS"), 200, STAYS, lambda d: b"max-forwards: 4" in d.lower()),
    ("T-12 9112 2.3", "an HTTP/1.0 request goes on as HTTP/1.1", get(version=b"HTTP/1.0"), 200, CLOSES,
     [b"GET / HTTP/1.1\r\n"]),
    # --- fields ------------------------------------------------------------------------------
    ("F-01 9110 7.6.1", "fields that Connection names are not forwarded",
     get(b"Connection: X-One,x-two\r\nconnection: X-Three\r\nX-One: a\r\nX-Two: b\r\nx-three: c\r\nX-Four: d\r\n"),
     200, STAYS, lambda d: lacks(b"x-one", b"x-two", b"x-three")(d) and b"x-four" in d.lower()),
    ("F-02 9110 7.6.1", "hop-by-hop fields are not forwarded",
     get(b"Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nUpgrade: x\r\nTE: gzip\r\n"), 200, STAYS,
     lacks(b"keep-alive", b"proxy-connection", b"upgrade", b"te: gzip")),
    ("F-03 9110 7.6.1", "Connection cannot remove Host or framing",
     post(b"Connection: host, content-length\r\nContent-Length: 2\r\n", b"hi"), 200, ANY,
     [b"app\r\n", b"\r\n\r\nhi"]),
    ("F-05 9110 10.1.4", "of TE only trailers passes",
     get(b"TE: gzip;q=0.5, trailers\r\nConnection: TE\r\n"), 200, STAYS,
     lambda d: b"te: trailers\r\n" in d.lower() and lacks(b"gzip")(d)),
    ("F-07 9110 5.3", "repeated fields keep their order",
     get(b"X: 1\r\nY: 2\r\nX: 3\r\n"), 200, STAYS, lambda d: d.lower().find(b"x: 1") < d.lower().find(b"x: 3")),
    ("F-07 9110 5.5", "an empty value passes", get(b"X-Empty:\r\nX-Spaces:  \r\n"), 200, STAYS,
     lambda d: b"x-empty:" in d.lower()),
    ("F-07 9112 5", "white space around a value is no part of it", get(b"X:  \t a b \t \r\n"), 200, STAYS,
     lambda d: b"x: a b\r\n" in d.lower()),
    ("F-08 9110 13.2.1", "conditions are forwarded",
     get(b'If-Match: "a"\r\nIf-None-Match: *\r\nRange: bytes=0-1\r\n'), 200, STAYS, [b'"a"', b"bytes=0-1"]),
    ("F-09 9110 5.5", "NUL in a value", get(b"X: a\0b\r\n"), BAD, CLOSES, NOTHING),
    ("F-09 9110 5.5", "a bell in a value", get(b"X: a\x07b\r\n"), BAD, CLOSES, NOTHING),
    ("F-09 9110 5.5", "DEL in a value", get(b"X: a\x7fb\r\n"), BAD, CLOSES, NOTHING),
    ("F-09 9110 5.5", "bytes beyond ASCII in a value pass", get(b"X: a\x80\xffb\r\n"), 200, STAYS, [b"a\x80\xffb"]),
    ("F-10 9112 5.1", "a space before the colon", get(b"X : a\r\n"), BAD, CLOSES, NOTHING),
    ("F-10 9112 5.1", "a tab before the colon", get(b"X\t: a\r\n"), BAD, CLOSES, NOTHING),
    ("F-10 9112 5.1", "a space before the colon of Content-Length",
     post(b"Content-Length : 5\r\n", b"hello"), BAD, CLOSES, NOTHING),
    ("F-10 9112 5.1", "a space before the colon of Transfer-Encoding",
     post(b"Transfer-Encoding : chunked\r\n", WHOLE), BAD, CLOSES, NOTHING),
    ("F-10 9110 5.1", "an empty name", get(b": a\r\n"), BAD, CLOSES, NOTHING),
    ("F-10 9110 5.1", "a name with a bracket", get(b"X-Invalid[]: a\r\n"), BAD, CLOSES, NOTHING),
    ("F-10 9110 5.1", "a name with a space", get(b"X Y: a\r\n"), BAD, CLOSES, NOTHING),
    ("F-10 9110 5.1", "a name with NUL", get(b"X\0: a\r\n"), BAD, CLOSES, NOTHING),
    ("F-10 9110 5.1", "a name beyond ASCII", get(b"X\xe9: a\r\n"), BAD, CLOSES, NOTHING),
    ("F-10 9112 5", "a line without a colon", get(b"nonsense\r\n"), BAD, CLOSES, NOTHING),
    ("F-10 9112 5.2", "a folded line", get(b"X: a\r\n b\r\n"), BAD, CLOSES, NOTHING),
    ("F-10 9112 5.2", "a line folded by a tab", get(b"X: a\r\n\tb\r\n"), BAD, CLOSES, NOTHING),
    ("F-10 9112 2.2", "white space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", BAD, CLOSES, NOTHING),
    ("F-13 9112 2.2", "a bare CR in a value", get(b"X: a\rb\r\n"), BAD, CLOSES, NOTHING),
    ("F-13 9112 2.2", "a bare CR as the end of a line", b"GET / HTTP/1.1\r\nHost: a\r\rX: b\r\n\r\n", BAD, CLOSES, NOTHING),
    ("F-13 9112 2.2", "a bare CR behind the request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n", BAD, CLOSES, NOTHING),
    ("F-12 9112 2.2", "a bare LF is never forwarded", b"GET / HTTP/1.1\nHost: a\n\n", (200, 400), ANY,
     lambda d: b"\n" not in d.replace(b"\r\n", b"")),
    ("F-15 7239", "the client's address is appended",
     get(b"X-Forwarded-For: 1.2.3.4\r\n"), 200, STAYS, [b"1.2.3.4, 127.0.0.1"]),
    ("F-16 9110 7.7", "no User-Agent is made up", get(), 200, STAYS, lacks(b"user-agent", b"via")),
    ("F-17 3875", "aliases of framing are dropped",
     get(b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\nX_Forwarded_For: 6.6.6.6\r\n"), 200, STAYS,
     lacks(b"content_length", b"transfer_encoding", b"6.6.6.6")),
    # --- framing -----------------------------------------------------------------------------
    ("B-01 9112 6.1", "both framings", post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", WHOLE),
     BAD, CLOSES, NOTHING),
    ("B-01 9112 6.1", "both framings, the other way round",
     post(b"Transfer-Encoding: chunked\r\nContent-Length: 15\r\n", WHOLE), BAD, CLOSES, NOTHING),
    ("B-01 9112 11.2", "both framings hide no request",
     post(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
     BAD, CLOSES, NOTHING),
    ("B-02 9112 6.1", "Transfer-Encoding in HTTP/1.0",
     b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + WHOLE, BAD, CLOSES, NOTHING),
    ("B-03 9112 6.3", "a coding without chunked", post(b"Transfer-Encoding: gzip\r\n", b"x"), (400, 501), CLOSES, NOTHING),
    ("B-03 9112 6.3", "chunked is not last", post(b"Transfer-Encoding: chunked, gzip\r\n", WHOLE), (400, 501), CLOSES, NOTHING),
    ("B-03 9112 6.1", "an unknown coding before chunked", post(b"Transfer-Encoding: x, chunked\r\n", WHOLE), (400, 501), CLOSES, NOTHING),
    ("B-03 9112 6.1", "chunked twice", post(b"Transfer-Encoding: chunked, chunked\r\n", WHOLE), (400, 501), CLOSES, NOTHING),
    ("B-03 9112 6.1", "chunked on two lines", post(b"Transfer-Encoding: chunked\r\n" * 2, WHOLE), (400, 501), CLOSES, NOTHING),
    ("B-03 9112 6.1", "identity", post(b"Transfer-Encoding: identity\r\n", b"x"), (400, 501), CLOSES, NOTHING),
    ("B-03 9112 6.1", "an empty Transfer-Encoding", post(b"Transfer-Encoding:\r\n", b"x"), (400, 501), CLOSES, NOTHING),
    ("B-03 9112 6.1", "chunked with a parameter", post(b"Transfer-Encoding: chunked;a=b\r\n", WHOLE), (400, 501), CLOSES, NOTHING),
    ("B-03 9112 6.1", "quoted chunked", post(b'Transfer-Encoding: "chunked"\r\n', WHOLE), (400, 501), CLOSES, NOTHING),
    ("B-03 9112 6.1", "chunked behind a vertical tab", post(b"Transfer-Encoding: \x0bchunked\r\n", WHOLE), BAD, CLOSES, NOTHING),
    ("B-03 9112 7", "chunked in any case", post(b"tRANSFER-eNCODING: ChUnKeD\r\n", WHOLE), 200, STAYS, [b"hello"]),
    *[
        ("B-04 9112 6.3", f"Content-Length: {value}", post(b"Content-Length: " + value.encode() + b"\r\n", b"hello"),
         BAD, CLOSES, NOTHING)
        for value in ("+5", "-5", "-123456789123456789123456789", "5_0", "0x5", "", "5,6", "5 5", "abc",
                      "5;", "5.0", "1e1", "18446744073709551616", "99999999999999999999999", "5,", '"5"')
    ],
    ("B-04 9112 6.3", "two different Content-Lengths", post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"), BAD, CLOSES, NOTHING),
    ("B-04 9112 6.3", "two equal Content-Lengths are one or refused",
     post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), (200, 400), ANY,
     lambda d: d.lower().count(b"content-length") <= 1),
    ("B-04 9112 6.3", "a list of equal Content-Lengths is one or refused",
     post(b"Content-Length: 5, 5\r\n", b"hello"), (200, 400), ANY, lacks(b"5, 5")),
    ("B-04 9112 6.3", "a Content-Length with zeros before it", post(b"Content-Length: 0005\r\n", b"hello"), 200, STAYS, [b"hello"]),
    ("B-05 9112 7.1", "a chunked body passes", chunked(WHOLE), 200, STAYS, [b"hello"]),
    ("B-05 9112 7.1", "a chunked body in pieces passes",
     [chunked(b""), b"5", b"\r", b"\nhe", b"llo\r\n", b"6\r\n world\r\n", b"0\r\n", b"\r\n"], 200, STAYS, [b"he", b"llo", b" world"]),
    ("B-05 9112 7.1", "hexadecimal sizes of both cases pass", chunked(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
     200, STAYS, [b"0123456789"]),
    ("B-05 9112 7.1", "zeros before a size pass", chunked(b"0005\r\nhello\r\n000\r\n\r\n"), 200, STAYS, [b"hello"]),
    ("B-05 9112 7.1.1", "chunk extensions are not forwarded", chunked(b'5;a=b;c="d;e"\r\nhello\r\n0;x\r\n\r\n'),
     200, STAYS, lambda d: b"hello" in d and b"a=b" not in d),
    *[
        ("B-05 9112 7.1", f"the chunk {body!r}", chunked(body), BAD, CLOSES, lambda d: not d.endswith(b"0\r\n\r\n"))
        for body in (b"Z\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n",
                     b"+5\r\nhello\r\n0\r\n\r\n", b"5_0\r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n",
                     b"\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello0\r\n\r\n",
                     b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n",
                     b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\rhello\r\n0\r\n\r\n",
                     b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5 \x00\r\nhello\r\n0\r\n\r\n")
    ],
    ("B-05 9112 7.1.1", "an extension without end", chunked(b"5;" + b"a" * 100_000), (400, 413, 431), CLOSES,
     lambda d: b"aaaa" not in d),
    ("B-11 9110 6.5.1", "forbidden trailers are not merged or forwarded",
     chunked(b"5\r\nhello\r\n0\r\nContent-Length: 9\r\nHost: evil\r\n\r\n", b"Trailer: Content-Length, Host\r\n"),
     (200, 400), ANY, lacks(b"evil")),
    ("B-11 9112 7.1.2", "a malformed trailer", chunked(b"5\r\nhello\r\n0\r\nX : y\r\n\r\n"), BAD, CLOSES,
     lambda d: not d.endswith(b"0\r\n\r\n")),
    ("B-06 9112 6.3", "without framing there is no body", post(b"") + get(target=b"/next"), [200, 200], STAYS,
     [b"POST / ", b"GET /next "]),
    ("B-06 9110 9.3.1", "a GET with a body keeps it", get(b"Content-Length: 5\r\n") + b"hello", 200, STAYS, [b"\r\n\r\nhello"]),
    ("B-06 9110 9.3.1", "a GET with a chunked body keeps it",
     get(b"Transfer-Encoding: chunked\r\n") + WHOLE, 200, STAYS, [b"hello"]),
    ("B-10 9112 6.2", "a body of announced length keeps its length", post(b"Content-Length: 5\r\n", b"hello"), 200, STAYS,
     lambda d: b"content-length: 5\r\n" in d.lower() and lacks(b"transfer-encoding")(d)),
    ("B-14 9112 9.3", "the body of a refused request is not read as a request",
     b"POST / HTTP/1.1\r\nContent-Length: 38\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n", BAD, CLOSES, NOTHING),
    # --- connections -------------------------------------------------------------------------
    ("E-09 9112 9.3.2", "pipelined requests are answered in order",
     get(target=b"/1") + get(target=b"/2") + get(target=b"/3"), [200, 200, 200], STAYS, [b"/1 ", b"/2 ", b"/3 "]),
    ("E-09 9112 9.3.2", "pipelined bodies are told apart",
     post(b"Content-Length: 5\r\n", b"hello") + chunked(WHOLE) + get(target=b"/3"), [200, 200, 200], STAYS, [b"/3 "]),
    ("E-09 9112 9.3.2", "a bad request behind a good one",
     get(target=b"/good") + b"BAD\r\n\r\n", [200, 400], CLOSES, [b"/good"]),
    ("R-06 9112 9.6", "after Connection: close the connection ends", get(b"Connection: close\r\n") + get(target=b"/late"),
     200, CLOSES, lacks(b"/late", b"connection: close")),
    ("R-06 9112 9.6", "close in any case and list", get(b"Connection: x, CLOSE\r\n"), 200, CLOSES, [b"GET / "]),
    ("E-11 9112 9.3", "HTTP/1.0 ends with the answer", get(version=b"HTTP/1.0") + get(target=b"/late"), 200, CLOSES, lacks(b"/late")),
    ("E-11 9112 9.3", "HTTP/1.0 with keep-alive stays",
     get(b"Connection: keep-alive\r\n", version=b"HTTP/1.0"), 200, STAYS, [b"GET / "]),
    ("I-02 9110 10.1.1", "Expect with a body that is there already passes",
     post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"), 200, ANY, [b"hello"]),
    ("I-04 9110 10.1.1", "an unknown expectation is forwarded or refused",
     post(b"Expect: 200-ok\r\nContent-Length: 5\r\n", b"hello"), (200, 417), ANY, lambda d: True),
    ("I-04 9110 10.1.1", "Expect of HTTP/1.0 is ignored",
     b"POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", 200, CLOSES, [b"hello"]),
    ("I-05 9110 7.8", "Upgrade without Connection: upgrade is no upgrade", get(b"Upgrade: websocket\r\n"), 200, STAYS,
     lacks(b"upgrade")),
    ("I-09 9113 3.1", "an upgrade to h2c is not forwarded",
     get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), 200, STAYS,
     lacks(b"h2c", b"http2-settings")),
    ("T-05 9113 3.4", "half the preface of HTTP/2 is no request", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", None, CLOSES, NOTHING),
]
