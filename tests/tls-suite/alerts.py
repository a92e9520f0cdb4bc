"""The alerts that answer wrong handshakes where rustls 0.21 sends none, or refuses a valid hello.

usage: alerts.py PORT KEY VERSION, as in scan.py

Each message here is plaintext. One fault that can't be mended is not checked: in TLS 1.3, a client
certificate with an extension ends the connection without an alert, because rustls queues none, and only
rustls can encrypt one.
"""

import os
import socket
import struct
import sys

from judge import judge

# The limit on a read or write, in seconds.
LIMIT = 10

ALERT, HANDSHAKE = 21, 22
SERVER_HELLO, SERVER_HELLO_DONE = 2, 14
FATAL = 2
HANDSHAKE_FAILURE, ILLEGAL_PARAMETER, DECODE_ERROR = 40, 47, 50

# The known deviations, each with its reason.
DEVIATIONS = {
    "TLS 1.2: without ec_point_formats (RFC 8422, section 5.1.2)": (
        "rustls 0.21 requires the extension, and the hello can't be completed on the way: "
        "it is part of what both sides hash"
    ),
}

ZERO_KEY = bytes(32)
SUITES = struct.pack("!6H", 0x1301, 0xC02B, 0xC02F, 0xCCA8, 0xCCA9, 0x00FF)
POINTS = {11: b"\x01\x00"}


def main(port, key, version):
    results = {}
    is_12 = version == "1.2"
    if is_12:
        name = "TLS 1.2: a key share of zeros"
        results[name] = fault(exchange(port, hello() | POINTS, share(32, ZERO_KEY)), ILLEGAL_PARAMETER)
        name = "TLS 1.2: an empty key share"
        results[name] = fault(exchange(port, hello() | POINTS, share(0, b"")), ILLEGAL_PARAMETER)
        name = "TLS 1.2: a key share that is cut"
        results[name] = fault(exchange(port, hello() | POINTS, share(32, b"cut")), DECODE_ERROR)
        name = "TLS 1.2: a protocol without a name"
        results[name] = fault(exchange(port, hello() | POINTS | alpn(b"")), DECODE_ERROR)
        name = "TLS 1.2: without ec_point_formats (RFC 8422, section 5.1.2)"
        came = exchange(port, hello())
        results[name] = None if came[:1] == [(HANDSHAKE, SERVER_HELLO)] else f"{came}, no ServerHello"
        name = "TLS 1.2: with a protocol that is not known"
        came = exchange(port, hello() | POINTS | alpn(b"h2"))
        results[name] = None if came[:1] == [(HANDSHAKE, SERVER_HELLO)] else f"{came}, no ServerHello"
    name = "TLS 1.3: a key share of zeros"
    results[name] = fault(exchange(port, hello(ZERO_KEY)), ILLEGAL_PARAMETER)
    name = "TLS 1.3: a protocol without a name"
    results[name] = fault(exchange(port, hello(b"\x09" + bytes(31)) | alpn(b"")), DECODE_ERROR)
    deviations = DEVIATIONS if is_12 else {}
    return judge(f"alerts, {key}, from TLS {version}", results, deviations)


def fault(came, alert):
    """Describes the fault, unless this alert is the last message."""
    return None if came[-1:] == [(ALERT, FATAL, alert)] else f"{came}, not alert {alert} at the end"


def hello(key=None):
    """The extensions of a hello of TLS 1.2, or of 1.3 with this X25519 key."""
    schemes = struct.pack("!5H", 8, 0x0403, 0x0503, 0x0804, 0x0401)
    extensions = {10: b"\x00\x02\x00\x1d", 13: schemes}
    if key is not None:
        extensions[43] = b"\x02\x03\x04"
        extensions[51] = struct.pack("!3H", 36, 0x1D, 32) + key
    return extensions


def alpn(name):
    protocol = bytes([len(name)]) + name
    return {16: struct.pack("!H", len(protocol)) + protocol}


def share(length, key):
    """A ClientKeyExchange."""
    return message(16, bytes([length]) + key)


def message(kind, body):
    body = bytes([kind]) + len(body).to_bytes(3, "big") + body
    return struct.pack("!BHH", HANDSHAKE, 0x0303, len(body)) + body


def exchange(port, extensions, answer=None):
    """Sends a hello, and the answer to the server's part; returns a short form of each message received."""
    body = b"\x03\x03" + os.urandom(32) + b"\x00"
    body += struct.pack("!H", len(SUITES)) + SUITES + b"\x01\x00"
    packed = b"".join(struct.pack("!HH", kind, len(data)) + data for kind, data in extensions.items())
    body += struct.pack("!H", len(packed)) + packed
    came = []
    with socket.create_connection(("127.0.0.1", port), LIMIT) as connection:
        connection.sendall(message(1, body))
        if answer is None:
            connection.shutdown(socket.SHUT_WR)
        stream = connection.makefile("rb")
        while header := stream.read(5):
            kind, _, length = struct.unpack("!BHH", header)
            content = stream.read(length)
            if kind == ALERT and length == 2:
                came.append((kind, *content))
            elif kind == HANDSHAKE:
                came.append((kind, content[0]))
            else:
                came.append((kind, length))
            if answer and came[-1] == (HANDSHAKE, SERVER_HELLO_DONE):
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
    return came


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]) != 0)
