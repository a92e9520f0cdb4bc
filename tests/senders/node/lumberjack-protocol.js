// Sends messages by lumberjack-protocol (version 1 of lumberjack) until all are acknowledged, and prints how many
// are. The arguments are a file of code that makes the client's options, as in GUIDE.md, and the number of messages.

"use strict";

const ClientSocket = require("lumberjack-protocol/lib/ClientSocket");

const [path, count] = process.argv.slice(2);
const options = require("./made.js")(path, "options");

// The client itself sends nothing again. Its socket tells which messages are acknowledged.
let acknowledged = 0;

function connect() {
  const socket = new ClientSocket({windowSize: 1000});
  const first = acknowledged;
  let next = first;
  const write = () => {
    if (socket.connected && next < count) {
      next += 1;
      socket.writeDataFrame({line: `message ${next - 1}`, host: "web1.example"}, () => setImmediate(write));
    }
  };
  const again = () => setTimeout(connect, 50);
  socket.on("connect", write);
  socket.on("error", again);
  socket.on("end", again);
  socket.on("ack", sequence => {
    acknowledged = first + sequence;
    console.log(`acknowledged ${acknowledged}`);
    if (acknowledged === Number(count)) {
      process.exit();
    }
  });
  socket.connect(options);
}

connect();
