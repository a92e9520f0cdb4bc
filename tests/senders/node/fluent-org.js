// Sends messages by @fluent-org/logger until all are acknowledged, and prints how many are. The arguments are
// a file of code that makes the client, as in GUIDE.md, and the number of messages; paced.js has more.

"use strict";

const paced = require("./paced.js");

const [path, count] = process.argv.slice(2);
const client = require("./made.js")(path, "client");

// In its other modes than Message, the client packs what is emitted in one turn of the event loop.
const AT_ONCE = paced.window || 100;

let next = 0;
let acknowledged = 0;

function emit() {
  for (let left = AT_ONCE; left > 0 && next < count; left -= 1) {
    client.emit({message: `${paced.name}message ${next}`}).then(acknowledge);
    next += 1;
  }
  if (next < count && !paced.window) {
    setImmediate(emit);
  }
}

function acknowledge() {
  acknowledged += 1;
  if (acknowledged % AT_ONCE === 0 || acknowledged === Number(count)) {
    console.log(`acknowledged ${acknowledged}`);
  }
  if (acknowledged === Number(count)) {
    client.shutdown();
  } else if (paced.window && acknowledged === next) {
    paced.next(emit, () => client.shutdown());
  }
}

emit();
