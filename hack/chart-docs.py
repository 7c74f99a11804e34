#!/usr/bin/env python3
"""What does each value of the Helm chart mean? Copies the comments of values.yaml to where else people read them.

    hack/chart-docs.py            rewrites the table in README.md and the descriptions in values.schema.json
    hack/chart-docs.py --check    fails if they are not what it would write

The comment above a key in values.yaml is the only place where a value is described.
"""

import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parent.parent / "charts" / "pgreeve"
BEGIN, END = "<!-- values: begin, by hack/chart-docs.py -->", "<!-- values: end -->"
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9]*):")


def comments(text):
    """Maps the path of each key that has a comment right above it to that comment, in the order of the file."""
    found, path, pending = {}, [], []
    for line in text.splitlines():
        if line.strip().startswith("#"):
            pending.append(line.strip().lstrip("#").strip())
            continue
        match = KEY.match(line)
        if match:
            path = path[: len(match["indent"]) // 2] + [match["key"]]
            if pending:
                found[tuple(path)] = " ".join(pending)
        pending = []
    return found


def leaves(described, values):
    """The keys that a table lists: each described one with its default; fails on a key that nobody described."""
    for path, text in described.items():
        value = values
        for key in path:
            value = value[key]
        yield path, value, text
    missing = [".".join(path) for path in undescribed(values, described)]
    if missing:
        sys.exit(f"values.yaml: no comment above {', '.join(missing)}")


def undescribed(values, described, prefix=()):
    for key, value in values.items():
        path = (*prefix, key)
        if path in described:
            continue
        if isinstance(value, dict) and value:
            yield from undescribed(value, described, path)
        else:
            yield path


def table(rows):
    lines = ["| Value | Default | What it does |", "| --- | --- | --- |"]
    for path, value, text in rows:
        default = json.dumps(value, separators=(", ", ": ")).replace("|", "\\|")
        lines.append(f"| `{'.'.join(path)}` | `{default}` | {text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def with_table(readme, rows):
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{after}"


def with_descriptions(schema, described):
    for path, text in described.items():
        node = schema
        for key in path:
            node = node["properties"][key]
        node.pop("description", None)
        node.update({"description": text, **{key: node.pop(key) for key in list(node)}})
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main():
    text = (CHART / "values.yaml").read_text()
    described = comments(text)
    rows = list(leaves(described, yaml.safe_load(text)))
    readme, schema = CHART / "README.md", CHART / "values.schema.json"
    wanted = {
        readme: with_table(readme.read_text(), rows),
        schema: with_descriptions(json.loads(schema.read_text()), described),
    }
    stale = [path for path, content in wanted.items() if path.read_text() != content]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"run hack/chart-docs.py: {', '.join(path.name for path in stale)} not up to date with values.yaml")
        return
    for path in stale:
        path.write_text(wanted[path])


if __name__ == "__main__":
    main()
