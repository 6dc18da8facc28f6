// An echo server; prints its port. `close CODE` as a text closes with this code.
const { WebSocketServer } = require("ws");

const server = new WebSocketServer(
  { host: "127.0.0.1", port: 0, perMessageDeflate: true, maxPayload: 32 << 20 },
  () => console.log(server.address().port),
);
server.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => {
    const text = isBinary ? "" : `${data}`;
    if (text.startsWith("close ")) socket.close(Number(text.split(" ")[1]), "as asked");
    else socket.send(data, { binary: isBinary });
  });
});
