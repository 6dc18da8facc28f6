// Uploads with http and with fetch and prints the early answers: node early.js PORT SIZE
const http = require("node:http");

const [port, size] = process.argv.slice(2).map(Number);
const body = Buffer.alloc(size);

const withHttp = () =>
  new Promise((resolve, reject) => {
    const options = { port, host: "127.0.0.1", method: "POST", headers: { "Content-Length": size } };
    const request = http.request({ ...options, agent: false }, (response) => {
      let text = "";
      response.on("data", (data) => (text += data));
      response.on("end", () => resolve([response.statusCode, text]));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });

const withFetch = async () => {
  const answer = await fetch(`http://127.0.0.1:${port}/`, { method: "POST", body });
  return [answer.status, await answer.text()];
};

const main = async () => {
  console.log(JSON.stringify([await withHttp(), await withFetch()]));
  process.exit(0);
};

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
