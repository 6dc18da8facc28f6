#!/usr/bin/env node
// Runs the program of this platform's package, and ends as it ends.
"use strict";
const { spawn } = require("node:child_process");

const name = `redcar-${process.platform}-${process.arch}`;
let program;
try {
  program = require.resolve(`${name}/redcar`);
} catch {
  console.error(`redcar: there is no program for ${process.platform} on ${process.arch} (package ${name})`);
  process.exit(1);
}
const child = spawn(program, process.argv.slice(2), { stdio: "inherit" });
// A terminal sends Ctrl-C to both; whoever else sends a signal knows only this process.
for (const signal of ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"]) {
  process.on(signal, () => child.kill(signal));
}
process.on("SIGINT", () => {
  if (!process.stdin.isTTY) child.kill("SIGINT");
});
child.on("error", (error) => {
  console.error(`redcar: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => {
  if (signal) {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  } else {
    process.exit(code);
  }
});
