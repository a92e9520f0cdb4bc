// Sends messages by fluent-logger until all are acknowledged, and prints how many are. The arguments are a file
// of code that makes the client, as in GUIDE.md, and the number of messages.

"use strict";

const made = require("./made.js");

const [path, count] = process.argv.slice(2);

// In its other modes than Message, the client packs what is emitted until it sends.
const AT_ONCE = 500;

let next = 0;
let acknowledged = 0;
const unacknowledged = new Set();

// Sends by a new client, until there is an error.
function send() {
  const client = made(path, "client");
  client.once("error", () => {
    client.end();
    setTimeout(send, 50);
  });
  unacknowledged.forEach(number => emit(client, number));
  emitNext(client);
}

function emitNext(client) {
  while (unacknowledged.size < AT_ONCE && next < count) {
    unacknowledged.add(next);
    emit(client, next);
    next += 1;
  }
}

function emit(client, number) {
  client.emit({message: `message ${number}`}, error => {
    if (error || !unacknowledged.delete(number)) {
      return;
    }
    acknowledged += 1;
    if (unacknowledged.size === 0) {
      console.log(`acknowledged ${acknowledged}`);
      emitNext(client);
    }
    if (acknowledged === Number(count)) {
      // The timers of earlier clients may still run.
      client.end(null, null, () => process.exit());
    }
  });
}

send();
