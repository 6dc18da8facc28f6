// The dashboard as a constant of Grafana's own type; the test appends the JSON.
import type { Dashboard, TableFieldOptions } from "@grafana/schema";
import type * as heatmap from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// JSON has the text of an enum's value, never the enum itself.
type Json<T> = T extends string
  ? `${T}`
  : T extends (infer U)[]
    ? Json<U>[]
    : T extends object
      ? { [K in keyof T]: Json<T[K]> }
      : T;

// Options and custom fields by kind of panel; Grafana fills in what is left out.
type Partly<T> = T extends object ? { [K in keyof T]?: Partly<T[K]> } : T;
export type Options = {
  heatmap: Json<Partly<heatmap.Options>>;
  stat: Json<Partly<stat.Options>>;
  table: Json<Partly<table.Options>>;
  timeseries: Json<Partly<timeseries.Options>>;
};
export type Custom = {
  heatmap: Json<Partly<heatmap.FieldConfig>>;
  stat: {};
  table: Json<Partly<TableFieldOptions>>;
  timeseries: Json<Partly<timeseries.FieldConfig>>;
};

// What the Prometheus data source reads beside the general fields of an annotation.
type Annotations = { annotations?: { list?: { titleFormat?: string }[] } };

// What Grafana's importer reads and its type leaves out.
type Import = { __inputs: []; __requires: { type: string; id: string; name: string; version: string }[] };

export const dashboard: Json<Dashboard> & Annotations & Import =
