#!/usr/bin/env python3
"""Checks every dependency's licence and origin against deny.toml, from `cargo metadata` alone.

Exit 0 when all are allowed, else 1 with a line for each that is not.
"""
import json
import re
import subprocess
import sys
import tomllib


def allowed(expression: str, allow: set[str]) -> bool:
    """Whether an SPDX expression can be met: one side of an OR, both of an AND."""
    expression = expression.replace("/", " OR ").strip()
    parts = split(expression, " OR ")
    if len(parts) > 1:
        return any(allowed(part, allow) for part in parts)
    parts = split(expression, " AND ")
    if len(parts) > 1:
        return all(allowed(part, allow) for part in parts)
    if expression.startswith("(") and expression.endswith(")"):
        return allowed(expression[1:-1], allow)
    return expression in allow


def split(expression: str, operator: str) -> list[str]:
    """Splits at an operator outside of parentheses."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(expression):
        depth += {"(": 1, ")": -1}.get(expression[at], 0)
        if depth == 0 and expression.startswith(operator, at):
            parts.append(expression[start:at].strip())
            at += len(operator)
            start = at
            continue
        at += 1
    return [*parts, expression[start:].strip()]


def host() -> str:
    """The platform that is built for: other platforms' crates may not be here."""
    told = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.search(r"^host: (\S+)$", told, re.MULTILINE)[1]


def main() -> int:
    with open("deny.toml", "rb") as file:
        allow = set(tomllib.load(file)["licenses"]["allow"])
    output = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host()],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    wrong = []
    packages = json.loads(output)["packages"]
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if not allowed(package["license"] or "", allow):
            wrong.append(f"{name}: licence {package['license']!r} is not allowed by deny.toml")
        source = package["source"]
        if source is not None and not re.match(r"registry\+|sparse\+", source):
            wrong.append(f"{name}: comes from {source}")
    print("\n".join(wrong) or f"licences of {len(packages)} packages are allowed", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
