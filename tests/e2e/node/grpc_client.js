// Calls every shape of the service once and prints what came: node grpc_client.js PORT
const grpc = require("@grpc/grpc-js");

const bytes = (value) => value;
const method = (name, requestStream, responseStream) => ({
  path: `/redcar.test.Shapes/${name}`,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});
const Client = grpc.makeGenericClientConstructor(
  {
    echo: method("Echo", false, false),
    status: method("Status", false, false),
    wait: method("Wait", false, false),
    count: method("Count", true, false),
    repeat: method("Repeat", false, true),
    pingPong: method("PingPong", true, true),
  },
  "Shapes",
);
const client = new Client(`127.0.0.1:${process.argv[2]}`, grpc.credentials.createInsecure());

const unary = (call, request, options = {}) =>
  new Promise((resolve) => {
    call.call(client, Buffer.from(request), options, (error, answer) => resolve([error, answer]));
  });

const clientStream = () =>
  new Promise((resolve, reject) => {
    const call = client.count((error, answer) => (error ? reject(error) : resolve(`${answer}`)));
    for (const size of [10, 20, 30]) call.write(Buffer.alloc(size));
    call.end();
  });

const serverStream = () =>
  new Promise((resolve, reject) => {
    let count = 0;
    const call = client.repeat(Buffer.from("20 1000"));
    call.on("data", () => (count += 1));
    call.on("error", reject);
    call.on("end", () => resolve(count));
  });

const pingPong = () =>
  new Promise((resolve, reject) => {
    const call = client.pingPong();
    const came = [];
    call.on("data", (data) => {
      came.push(`${data}`);
      if (came.length === 3) call.end();
      else call.write(Buffer.from("abc"[came.length]));
    });
    call.on("error", reject);
    call.on("end", () => resolve(came));
    call.write(Buffer.from("a"));
  });

const main = async () => {
  const [failed, echo] = await unary(client.echo, Buffer.alloc(300000));
  if (failed) throw failed;
  const [status] = await unary(client.status, "NOT_FOUND:gone");
  const [late] = await unary(client.wait, "", { deadline: Date.now() + 500 });
  const found = {
    unary: echo.length,
    clientStream: await clientStream(),
    serverStream: await serverStream(),
    pingPong: await pingPong(),
    status: [status.code, status.details],
    deadline: late.code,
  };
  client.close();
  console.log(JSON.stringify(found));
};

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
