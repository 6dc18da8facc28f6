// Reads a JSON list of PodMonitor and PrometheusRule objects and validates each at run time.
// Unknown keys pass here; the TypeScript compiler finds those.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const file = "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js";
const models = await import(pathToFileURL(`${process.argv[2]}/${file}`));
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    new models[object.kind](object).validate();
  } catch (error) {
    console.error(`${object.kind} ${object.metadata.name}: ${error.message}`);
    process.exitCode = 1;
  }
}
