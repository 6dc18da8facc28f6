// Prints the interim answers of a GET: node information.js PORT
const http = require("node:http");

const interim = [];
const request = http.get({ port: process.argv[2], host: "127.0.0.1", path: "/" }, (response) => {
  response.resume();
  response.on("end", () => {
    console.log(JSON.stringify({ interim, status: response.statusCode }));
    process.exit(0);
  });
});
request.on("information", (information) => interim.push(information.statusCode));
