// Sends messages of all sizes and prints what came back: node ws_client.js PORT
const { once } = require("node:events");
const WebSocket = require("ws");

const main = async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${process.argv[2]}/chat`, { maxPayload: 32 << 20 });
  await once(socket, "open");
  const found = { extension: socket.extensions.includes("permessage-deflate"), sizes: [] };
  for (const size of [0, 1, 125, 126, 65535, 65536, 16 << 20]) {
    const sent = Buffer.alloc(size, "abc");
    socket.send(sent);
    const [came] = await once(socket, "message");
    if (!came.equals(sent)) throw new Error(`${size} bytes came back as others`);
    found.sizes.push(came.length);
  }
  socket.send("h\u00e9llo");
  found.text = `${(await once(socket, "message"))[0]}`;
  socket.ping("are you there?");
  found.pong = `${(await once(socket, "pong"))[0]}`;
  socket.send("close 4000");
  const [code, reason] = await once(socket, "close");
  found.close = [code, `${reason}`];
  console.log(JSON.stringify(found));
};

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
