"""Sends messages by a Beats client, pylogbeat or python-logstash-async, until all are acknowledged, and
prints how many are. The arguments are a file of Python code that makes the client, as in GUIDE.md, and the
number of messages. With two more, a name and a file, each message begins with the name, and a few are sent
each second until the file exists."""

import os
import struct
import sys
import time

path, count = sys.argv[1], int(sys.argv[2])
name, over = (f"{sys.argv[3]} ", sys.argv[4]) if len(sys.argv) > 3 else ("", None)
made = {}
with open(path, encoding="utf-8") as code:
    exec(code.read(), made)
acknowledged = 0


def acknowledge(messages):
    global acknowledged
    acknowledged += messages
    print("acknowledged", acknowledged, flush=True)


def windows(most):
    """Windows of messages that are not acknowledged, until there are none."""
    while acknowledged < count:
        yield range(acknowledged, min(acknowledged + (3 if over else most), count))
        if over:
            if os.path.exists(over):
                break
            time.sleep(1)


def send_by_pylogbeat(client):
    from pylogbeat import ConnectionException

    for window in windows(100):
        while acknowledged < window.stop:
            try:
                client.send([{"message": f"{name}message {number}"} for number in window])
            # It unpacks an acknowledgement that the end of the connection cut off.
            except (OSError, ConnectionException, struct.error):
                client.close()
                time.sleep(0.05)
            else:
                acknowledge(len(window))


def send_by_logstash_async(handler, log):
    from logstash_async.constants import constants

    # By default, it looks for new messages every two seconds, and tries again after ten.
    constants.QUEUE_CHECK_INTERVAL = 0.05
    transport = handler._transport
    send = transport.send

    def send_and_count(events, **options):
        send(events, **options)
        acknowledge(sum(f'"message": "{name}message '.encode() in event for event in events))

    transport.send = send_and_count
    for window in windows(count):
        for number in window:
            log.info("%smessage %d", name, number)
        while acknowledged < window.stop:
            handler.flush()
            time.sleep(0.05)


if "handler" in made:
    send_by_logstash_async(made["handler"], made["log"])
else:
    send_by_pylogbeat(made["client"])
