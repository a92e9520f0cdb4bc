// Sends messages by fluent-logger until all are acknowledged, and prints how many are. The arguments are a file
// of code that makes the client, as in GUIDE.md, and the number of messages; paced.js has more.

"use strict";

const made = require("./made.js");
const paced = require("./paced.js");

const [path, count] = process.argv.slice(2);

// In its other modes than Message, the client packs what is emitted until it sends.
const AT_ONCE = paced.window || 500;

let next = 0;
let acknowledged = 0;
const unacknowledged = new Set();
let client;

// Sends by a new client, until there is an error.
function send() {
  client = made(path, "client");
  const mine = client;
  client.once("error", () => {
    mine.end();
    setTimeout(send, 50);
  });
  unacknowledged.forEach(emit);
  emitNext();
}

function emitNext() {
  while (unacknowledged.size < AT_ONCE && next < count) {
    unacknowledged.add(next);
    emit(next);
    next += 1;
  }
}

function emit(number) {
  client.emit({message: `${paced.name}message ${number}`}, error => {
    if (error || !unacknowledged.delete(number)) {
      return;
    }
    acknowledged += 1;
    if (unacknowledged.size === 0) {
      console.log(`acknowledged ${acknowledged}`);
      const end = () => client.end(null, null, () => process.exit());
      if (acknowledged === Number(count)) {
        // The timers of earlier clients may still run.
        end();
      } else if (paced.window) {
        paced.next(emitNext, end);
      } else {
        emitNext();
      }
    }
  });
}

send();
