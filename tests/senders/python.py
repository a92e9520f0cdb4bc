"""Logs messages of two lines by a handler. The arguments are a file of Python code that makes the handler, as in
GUIDE.md, and the number of messages."""

import sys

path, count = sys.argv[1], int(sys.argv[2])
made = {}
with open(path, encoding="utf-8") as code:
    exec(code.read(), made)
for number in range(count):
    made["log"].info("message %d\nof two lines", number)
made["handler"].close()
