"""Fifty things that are no request, or one that a program should not make."""

from __future__ import annotations

from typing import Final

_HOST: Final = b"Host: localhost\r\n"
_POST: Final = b"POST / HTTP/1.1\r\n" + _HOST

JUNK: Final[list[bytes]] = [
    # No HTTP
    b"\0",
    b"\r\n" * 1000,
    b"\xff" * 1000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # the hello of TLS
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"EHLO mail.example\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"GET /\r\n\r\n",
    b"GET\r\n\r\n",
    b"hello\r\n\r\n",
    b"{}" * 5000,
    # Request lines
    b"GET  / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1 \r\n\r\n",
    b"get / http/1.1\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET http://[::1 HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET * HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"CONNECT example.org:443 HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /" + b"%" * 5000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /" + b"a" * 100_000,
    b"X" * 100_000 + b" / HTTP/1.1\r\n\r\n",
    # Headers
    b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    b"GET / HTTP/1.1\r\n: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
    b"GET / HTTP/1.1\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 50_000,
    b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000,
    b"GET / HTTP/1.1\r\n" + b"a" * 100_000 + b": a\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    # Bodies
    _POST + b"Content-Length: -1\r\n\r\n",
    _POST + b"Content-Length: 1e3\r\n\r\n",
    _POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    _POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    _POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    _POST + b"Transfer-Encoding: gzip, chunked, chunked\r\n\r\n0\r\n\r\n",
    _POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    _POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\na",
    _POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    _POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 100_000,
    _POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * 50_000,
    _POST + b"Content-Length: 1000000\r\n\r\nonly so much",
    _POST + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    # Several at once
    b"GET / HTTP/1.1\r\n\r\n" * 2000,
    b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n" * 100,
]
