// A Node program of a few lines in place of tlsink: each stream is piped into standard
// output.
'use strict';

const { readFileSync } = require('node:fs');
const { createServer } = require('node:tls');

const [port, cert, key] = process.argv.slice(2);

// Each pipe adds listeners to standard output.
process.stdout.setMaxListeners(0);

createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (stream) => {
  stream.on('error', (error) => console.error(error.message));
  stream.pipe(process.stdout, { end: false });
}).listen({ port: Number(port), host: '127.0.0.1', backlog: 1024 });
