#!/usr/bin/env python3
"""Prints each line that tlsink wrote to a topic of Kafka once, although the topic can have it twice.

tlsink writes each line at least once: after a failure, it can write again the lines that were not acknowledged. The
headers `stream` and `offset` of a record say which bytes of which stream it is. Its value is a line without the
newline, or a block of lines without the last newline, so the next record of its stream has the offset behind that
newline. What lies before the next offset is a duplicate, and is dropped. A record with a higher offset comes after a
gap: it is reported, and held until the gap is filled, as it will be if the records of a stream are in several
partitions. A stream begins at the offset in its header `start`, or else at 0, unless Kafka has deleted the oldest
records. A line that was too long for one record is printed as several lines.

This reads the topic from its start, and persists nothing. A consumer that is to continue after a restart must persist
two things, in one transaction with what it makes of the lines: the Kafka offset of each partition, and the next offset
of each stream. If it persisted only the former, it could not tell a duplicate from a new record. The persisted offset
of a partition must not pass a record that is held, because after a restart only Kafka still has it.
"""

import argparse
import collections
import heapq
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

# How long to wait for a broker's answer, in seconds.
LIMIT = 60

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bootstrap", metavar="BOOTSTRAP", help="HOST:PORT of some brokers, separated by commas")
parser.add_argument("topic", metavar="TOPIC")
parser.add_argument(
    "--end",
    action="store_true",
    help="stop at the records that are the last ones now; the exit status is 1 if there is a gap before them",
)
options = parser.parse_args()

consumer = Consumer(
    {
        "bootstrap.servers": options.bootstrap,
        "group.id": "none",  # The client requires a name, although nothing is committed.
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
)
topic = consumer.list_topics(options.topic, LIMIT).topics[options.topic]
if topic.error:
    sys.exit(f"{options.topic}: {topic.error}")
partitions = [TopicPartition(options.topic, number, OFFSET_BEGINNING) for number in topic.partitions]
watermarks = [consumer.get_watermark_offsets(partition, LIMIT) for partition in partitions]
consumer.assign(partitions)

unread = {partition.partition: high for partition, (_, high) in zip(partitions, watermarks)}
deleted = any(low > 0 for low, _ in watermarks)
next_offsets = {}  # The next offset of each stream.
held = collections.defaultdict(list)  # The records of each stream that come after a gap: a heap, by offset.


def take(stream, start, offset, value, end):
    next_offset = next_offsets.setdefault(stream, offset if deleted else start)
    records = held[stream]
    if offset > next_offset and not records:
        print(f"{stream}: a gap from {next_offset} to {offset}", file=sys.stderr)
    heapq.heappush(records, (offset, end, value))
    while records and records[0][0] <= next_offset:
        offset, end, value = heapq.heappop(records)
        if end > next_offset:
            # Parts and blocks that come again can have other bounds.
            sys.stdout.buffer.write(value[next_offset - offset :] + b"\n")
            next_offset = end
    next_offsets[stream] = next_offset


while unread or not options.end:
    record = consumer.poll(1)
    if record is None:
        continue
    error = record.error()
    if error is None:
        headers = {name: value.decode() for name, value in record.headers()}
        value = record.value() or b""
        offset = int(headers["offset"])
        # The parts of a long line are 1, 2, 3/3: only the last one has a newline after it.
        newline = 1 if "/" in headers.get("part", "1/1") else 0
        start = int(headers.get("start", "0"))
        take(headers["stream"], start, offset, value, offset + len(value) + newline)
    elif error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    else:
        sys.stdout.flush()
        # A leader that is new can report an end that is too low at first.
        if record.offset() >= unread.get(record.partition(), 0):
            unread.pop(record.partition(), None)
consumer.close()
if any(held.values()):
    sys.exit("there is a gap")
