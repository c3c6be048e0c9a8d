"""Bytes that are not a valid request, and the statuses that the server answers."""

GET = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n"
LAST = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CHUNKED = GET + b"Transfer-Encoding: chunked\r\n\r\n"

# What is sent, and the statuses of all answers. After a request that is refused or has a body, nothing more is read.
TABLE: dict[str, tuple[bytes, list[int]]] = {
    "nothing": (b"", []),
    "half a line": (b"GET /v2/ HT", []),
    "half a head": (GET + b"X-Half", []),
    "empty lines": (b"\r\n\r\n\r\n", [400]),
    "no text": (bytes(range(1, 256)), [400]),
    "NUL": (b"\0" * 100, []),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]),
    "HTTP/0.9": (b"GET /v2/\r\n\r\n", [400]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "HTTP/2 by number": (b"GET /v2/ HTTP/2.0\r\nHost: x\r\n\r\n", [400]),
    "HTTP/2 by upgrade": (
        GET + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n" + LAST,
        [200, 200],
    ),
    "a proxy's preface": (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n" + LAST, [400]),
    "a method in lower case": (b"get /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "a method that is none": (b"G{T /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
    "TRACE": (b"TRACE /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
    "two blanks": (b"GET  /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "a path without a slash": (b"GET v2/ HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "NUL in a path": (b"GET /v2/\0 HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "no ASCII in a path": (b"GET /v2/\xff/tags/list HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "an absolute URL": (LAST.replace(b"/v2/", b"http://elsewhere.example/v2/"), [200]),
    "an absolute URL that is none": (LAST.replace(b"/v2/", b"http://[x/v2/"), [400]),
    "another scheme": (LAST.replace(b"/v2/", b"ftp://x/v2/"), [400]),
    "a fragment": (LAST.replace(b"/v2/", b"/v2/#x"), [200]),
    "two hosts": (GET + b"Host: y\r\n\r\n", [400]),
    "a line of 5 kB": (b"GET /v2/" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", [414]),
    "a name of 3 kB": (LAST.replace(b"/v2/", b"/v2/" + b"a" * 3000 + b"/manifests/x"), [400]),
    "a tag of 3 kB": (LAST.replace(b"/v2/", b"/v2/a/manifests/" + b"a" * 3000), [404]),
    "a header of 9 kB": (GET + b"X: " + b"a" * 9000 + b"\r\n\r\n", [431]),
    "65 headers": (GET + b"".join(b"X-%d: a\r\n" % number for number in range(65)) + b"\r\n", [431]),
    "a folded header": (GET + b"X: a\r\n b\r\n\r\n", [400]),
    "LF alone": (b"GET /v2/ HTTP/1.1\nHost: x\n\n", [400]),
    "LF in a header": (GET + b"X: a\nTransfer-Encoding: chunked\r\n\r\n", [400]),
    "CR in a header": (GET + b"X: a\rY: b\r\n\r\n", [400]),
    "NUL in a header": (GET + b"X: a\0b\r\n\r\n", [400]),
    "a blank before the colon": (GET + b"Content-Length : 5\r\n\r\nhello" + LAST, [400]),
    "no colon": (GET + b"Header\r\n\r\n", [400]),
    "no name": (GET + b": a\r\n\r\n", [400]),
    "CGI's own names": (GET + b"SCRIPT_NAME: /v2\r\nPATH_INFO: /metrics\r\nConnection: close\r\n\r\n", [200]),
    "both lengths": (GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + LAST, [400]),
    "two lengths": (GET + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + LAST, [400]),
    "the same length twice": (GET + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + LAST, [400]),
    "lengths in a list": (GET + b"Content-Length: 5, 5\r\n\r\nhello" + LAST, [400]),
    "a length with a sign": (GET + b"Content-Length: +5\r\n\r\nhello" + LAST, [400]),
    "a negative length": (GET + b"Content-Length: -1\r\n\r\nhello" + LAST, [400]),
    "a length of 5000 digits": (GET + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", [400]),
    "an unknown coding": (GET + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + LAST, [501]),
    "chunked twice": (GET + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + LAST, [400]),
    "chunked by HTTP/1.0": (CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n" + LAST, [400]),
    "a body on GET": (GET + b"Content-Length: 5\r\n\r\nhello" + LAST, [200]),
    "an empty body on GET": (GET + b"Content-Length: 0\r\n\r\n" + LAST, [200, 200]),
    "half a body on GET": (GET + b"Content-Length: 500\r\n\r\nhello", [200]),
    "chunks on GET": (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + LAST, [200]),
    "a chunk that is none": (CHUNKED + b"zz\r\n" + LAST, [200]),
    "a body that waits on GET": (GET + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n" + LAST, [200]),
    "a body on POST": (
        LAST.replace(b"GET", b"POST").replace(b"close\r\n", b"x\r\nContent-Length: 5\r\n") + LAST,
        [405],
    ),
    "an expectation": (GET + b"Expect: miracles\r\n\r\n", [417]),
    "three in a row": (GET + b"\r\n" + GET.replace(b"/v2/", b"/v2/x") + b"\r\n" + LAST, [200, 404, 200]),
}
# How gunicorn 25 answers some of them: differently, but no worse.
OLDER: dict[str, list[int]] = {
    "no text": [],
    "LF alone": [],
    "a path without a slash": [200],
    "NUL in a path": [404],
    "two hosts": [200],
    "a line of 5 kB": [400],
}
# More than the server reads before it refuses: it closes the connection, and its answer may be lost.
TOO_MUCH = {
    "a line without an end": (b"GET /v2/" + b"a" * 500_000, 414),
    "a header without an end": (GET + b"X: " + b"a" * 900_000, 431),
    "10,000 headers": (GET + b"".join(b"X-%d: a\r\n" % number for number in range(10_000)) + b"\r\n", 431),
}
