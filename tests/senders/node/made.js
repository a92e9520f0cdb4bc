// Runs a file of code that makes a client, as in GUIDE.md, and returns what it calls by this name.

"use strict";

const fs = require("node:fs");

module.exports = (path, name) =>
  new Function("require", `${fs.readFileSync(path, "utf8")}\nreturn ${name};`)(require);
