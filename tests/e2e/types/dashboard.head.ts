// The dashboard as a constant of Grafana's own type; the test appends the JSON.
import type { Dashboard } from "@grafana/schema";

// JSON has the text of an enum's value, never the enum itself.
type Json<T> = T extends string
  ? `${T}`
  : T extends (infer U)[]
    ? Json<U>[]
    : T extends object
      ? { [K in keyof T]: Json<T[K]> }
      : T;

// What the Prometheus data source reads beside the general fields of an annotation.
type Annotations = { annotations?: { list?: { titleFormat?: string }[] } };

// What Grafana's importer reads and its type leaves out.
type Import = { __inputs: []; __requires: { type: string; id: string; name: string; version: string }[] };

export const dashboard: Json<Dashboard> & Annotations & Import =
