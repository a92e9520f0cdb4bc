// With two arguments behind the others, a name and a file, each message begins with the name, and a few are sent each
// second until the file exists.

"use strict";

const fs = require("node:fs");

const [name, over] = process.argv.slice(4);

// The text before each message.
exports.name = name ? `${name} ` : "";

// The messages that are sent together; 0 means that there is no pause between them.
exports.window = over ? 3 : 0;

// Once those are acknowledged, sends the next ones in a second, or ends.
exports.next = (send, end) => (fs.existsSync(over) ? end() : setTimeout(send, 1000));
