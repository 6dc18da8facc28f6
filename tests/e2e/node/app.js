// An app on Node's own servers: node app.js PORT http1|http2
// It says on standard output what it learns about its clients, and when: see apps.py.
const http = require("node:http");
const http2 = require("node:http2");
const { WebSocketServer } = require("ws");

const SECONDS = 6;
const TICK = 50;

const [port, protocol] = process.argv.slice(2);

const note = (what, path) => {
  const at = Number(process.hrtime.bigint()) / 1e9;
  console.log(JSON.stringify({ what, path, at }));
};

// Works for SECONDS, unless the client leaves; `tick` is called now and then.
const patience = (path, response, tick) => {
  note("begun", path);
  const pace = setInterval(tick, TICK);
  const end = setTimeout(() => response.end("late"), SECONDS * 1000);
  response.on("close", () => {
    note(response.writableEnded ? "done" : "left", path);
    clearInterval(pace);
    clearTimeout(end);
  });
};

const moments = {
  before: (path, response) => patience(path, response, () => {}),
  within: (path, response) => {
    response.writeHead(200, { "content-type": "text/plain" });
    patience(path, response, () => response.write("tick\n"));
  },
  events: (path, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(": hello\n\n");
    patience(path, response, () => {});
  },
};

// A page whose style is hinted at before the page is there.
const pages = {
  "/page": (response) => {
    response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
    setTimeout(() => {
      note("answered", "/page");
      response.writeHead(200, { "content-type": "text/html" });
      response.end('<!doctype html><link rel="stylesheet" href="/style.css"><p>ok');
    }, 1000);
  },
  "/style.css": (response) => {
    note("begun", "/style.css");
    response.writeHead(200, { "content-type": "text/css", "cache-control": "max-age=60" });
    response.end("p { color: rgb(1, 2, 3) }");
  },
  "/hints": (response) => {
    response.writeEarlyHints({ link: "</a.css>; rel=preload; as=style" });
    response.writeEarlyHints({ link: "</b.js>; rel=preload; as=script" });
    response.end("ok");
  },
};

const upload = (url, request, response) => {
  let size = 0;
  request.on("data", (data) => (size += data.length));
  request.on("end", () => {
    const seconds = Number(url.searchParams.get("seconds") ?? 0);
    setTimeout(() => response.end(`${size}`), seconds * 1000);
  });
};

const handle = (request, response) => {
  const url = new URL(request.url, "http://app");
  if (url.pathname === "/upload") return upload(url, request, response);
  request.resume();
  if (url.pathname in pages) return pages[url.pathname](response);
  const moment = moments[url.pathname.split("/")[1]];
  if (!moment) return response.writeHead(404).end();
  request.on("end", () => moment(url.pathname, response));
};

const server = protocol === "http2" ? http2.createServer(handle) : http.createServer(handle);
// It takes its time before it says 100 or 413, so that nobody can guess it.
server.on("checkContinue", (request, response) => {
  setTimeout(() => {
    if (request.url === "/refused") return response.writeHead(413).end("too large");
    response.writeContinue();
    handle(request, response);
  }, 300);
});
if (protocol === "http1") {
  new WebSocketServer({ server }).on("connection", (socket, request) => {
    note("begun", request.url);
    socket.on("close", () => note("left", request.url));
  });
}
server.listen(Number(port), "127.0.0.1");
