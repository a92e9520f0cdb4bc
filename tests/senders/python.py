"""Logs messages over TLS, by the handler that the first argument names: rfc5424 or gelf. The others are
the server's port, its CA's file, and the number of messages."""

import logging
import socket
import sys

kind, port, ca, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
if kind == "rfc5424":
    from rfc5424logging import FRAMING_OCTET_COUNTING, Rfc5424SysLogHandler

    handler = Rfc5424SysLogHandler(
        address=("localhost", port),
        socktype=socket.SOCK_STREAM,
        framing=FRAMING_OCTET_COUNTING,
        tls_enable=True,
        tls_ca_bundle=ca,
    )
else:
    from pygelf import GelfTlsHandler

    handler = GelfTlsHandler(host="localhost", port=port, validate=True, ca_certs=ca)
log = logging.getLogger()
log.setLevel(logging.INFO)
log.addHandler(handler)
for number in range(count):
    log.info("message %d\nof two lines", number)
handler.close()
