// Gives up after a second, with fetch and with http: node impatient.js PORT PATH PATH
const http = require("node:http");

const [port, first, second] = process.argv.slice(2);
const gone = (error) => error.name;

const withFetch = fetch(`http://127.0.0.1:${port}${first}`, { signal: AbortSignal.timeout(1000) });
const withHttp = new Promise((_, reject) => {
  const request = http.get({ port, host: "127.0.0.1", path: second });
  request.on("error", reject);
  setTimeout(() => request.destroy(), 1000);
});

Promise.all([withFetch.catch(gone), withHttp.catch(gone)]).then((names) => {
  console.log(JSON.stringify(names));
});
