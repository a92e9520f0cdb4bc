// Sends messages by lumberjack-client (version 2 of lumberjack), which reads no acknowledgements. The arguments are
// a file of code that makes the client, as in GUIDE.md, and the number of messages.

"use strict";

const [path, count] = process.argv.slice(2);
const client = require("./made.js")(path, "client");

// Half of them wait for the connection, and are one window. Each of the others is a window.
const half = Math.floor(count / 2);
for (let number = 0; number < half; number += 1) {
  client.log({message: `message ${number}`});
}
client.socket.once("secureConnect", () => {
  for (let number = half; number < count; number += 1) {
    client.log({message: `message ${number}`});
  }
  // It has no method that ends it.
  client.socket.removeAllListeners("close");
  client.socket.end();
});
