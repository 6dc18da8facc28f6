// An app with Fastify: its description is at /documentation/json.
const fastify = require("fastify")();

async function serve(port) {
  await fastify.register(require("@fastify/swagger"), { openapi: { openapi: "3.0.0" } });
  fastify.get("/documentation/json", { schema: { hide: true } }, async () => fastify.swagger());
  fastify.get("/shops/:shop", async (request) => request.params);
  fastify.get("/shops/:shop/hours", async (request) => request.params);
  await fastify.listen({ port, host: "127.0.0.1" });
}

serve(Number(process.argv[2]));
