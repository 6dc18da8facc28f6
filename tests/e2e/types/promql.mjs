// Reads a JSON list of PromQL expressions, prints the metric names of each. Prometheus 3's grammar.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { readFileSync } from "node:fs";

const require = createRequire(pathToFileURL(process.argv[2] + "/"));
const { parser } = require("@prometheus-io/lezer-promql");
const names = JSON.parse(readFileSync(0, "utf8")).map((expression) => {
  const found = [];
  parser.parse(expression).iterate({
    enter(node) {
      const text = expression.slice(node.from, node.to);
      if (node.type.isError) {
        console.error(`error at ${node.from} of ${expression}`);
        process.exit(1);
      }
      if (node.name === "Identifier" && node.node.parent.name === "VectorSelector") found.push(text);
    },
  });
  return found;
});
console.log(JSON.stringify(names));
