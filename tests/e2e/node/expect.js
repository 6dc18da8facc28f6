// An upload that waits for 100 Continue; prints whether it came: node expect.js PORT
const http = require("node:http");

const body = Buffer.alloc(100000, "x");
const request = http.request({
  port: process.argv[2],
  host: "127.0.0.1",
  method: "POST",
  path: "/up",
  headers: { Expect: "100-continue", "Content-Length": body.length },
});
let continued = false;
request.on("continue", () => {
  continued = true;
  request.end(body);
});
request.on("response", (response) => {
  console.log(JSON.stringify({ continued, status: response.statusCode }));
  process.exit(0);
});
request.flushHeaders();
