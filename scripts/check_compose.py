#!/usr/bin/env python3
"""Checks what Compose makes of docker-compose.yml: that every service is held as tight as the others.

usage: docker compose --profile '*' config --format json | check_compose.py

Prints every problem, and exits 1 if there is one. It reads docker-compose.yml, .env.example and docker/Dockerfile too:
what one of them names, the others must know.
"""

import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The one port that other machines may reach.
PUBLIC = "proxy"
# Of the server's settings, those that the stack decides, and those that would contradict what it decides.
DECIDED = {"LISTEN", "REDIS_URL", "TRUSTED_PROXIES", "PRODUCT_STORE"}
CONTRADICTING = {"REDIS_HOST", "REDIS_PORT"}
COMPOSE_HEADING = "# --- Docker Compose"


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def check_service(name, service, dockerfile):
    if not service.get("read_only"):
        yield "may write to its file system"
    if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
        yield "has capabilities"
    if service.get("security_opt") != ["no-new-privileges:true"]:
        yield "may gain privileges"
    if service.get("privileged") or service.get("network_mode") or service.get("pid") or service.get("ipc"):
        yield "shares the machine's namespaces"
    for limit in ("mem_limit", "cpus", "pids_limit"):
        if not service.get(limit):
            yield f"has no {limit}"
    options = service.get("logging", {}).get("options", {})
    if "max-size" not in options or "max-file" not in options:
        yield "does not rotate its log"
    if service.get("restart") != "unless-stopped":
        yield "does not come back after a failure"
    built = "build" in service
    tag = service.get("image", "").rpartition(":")[2]
    if not built and not re.search(r"\d+\.\d+\.\d+", tag):
        yield f'is not pinned to a version: {service.get("image")}'
    user = service.get("user") or (built and re.findall(r"(?m)^USER (\S+)", dockerfile)[-1]) or ""
    if not re.fullmatch(r"[1-9]\d*:\d+", user):
        yield f'runs as "{user}", which is no number of an ordinary user'
    if not service.get("healthcheck", {}).get("test") and not (built and re.search(r"(?m)^HEALTHCHECK ", dockerfile)):
        yield "has no health check"
    for port in service.get("ports", []):
        if port.get("host_ip") != "127.0.0.1" and name != PUBLIC:
            yield f'publishes {port["target"]} beyond loopback'
    for volume in service.get("volumes", []):
        if volume["type"] == "bind" and not volume.get("read_only"):
            yield f'may write to {volume["source"]}'
    for other, condition in service.get("depends_on", {}).items():
        if condition["condition"] != "service_healthy":
            yield f"does not wait until {other} is healthy"


def check_settings(api, example, compose_file):
    server_part, _, compose_part = example.partition(COMPOSE_HEADING)
    settings = set(re.findall(r"(?m)^#?([A-Z][A-Z0-9_]*)=", server_part))
    own = set(re.findall(r"(?m)^#?([A-Z][A-Z0-9_]*)=", compose_part))
    if not settings or not own:
        yield f'.env.example has no settings, or none under "{COMPOSE_HEADING}"'
    passed = set(api["environment"])
    for variable in sorted(settings - passed - CONTRADICTING):
        yield f"the api is not given {variable}"
    for variable in sorted(passed - settings):
        yield f"the api is given {variable}, which .env.example does not know"
    uses = set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", compose_file))
    for variable in sorted(uses - settings - own):
        yield f"docker-compose.yml uses {variable}, which .env.example does not know"
    for variable in sorted(own - uses - {"COMPOSE_PROFILES"}):
        yield f"nothing uses {variable}, which .env.example has for Docker Compose"
    for variable in sorted(DECIDED & uses):
        yield f"docker-compose.yml takes {variable} from .env, where it is for a server outside the stack"


def check_image(dockerfile):
    version = re.search(r'(?m)^version = "([^"]+)"', read("Cargo.toml")).group(1)
    label = re.search(r'image\.version="([^"]*)"', dockerfile)
    if not label or label.group(1) != version:
        yield f"the image's version label is not {version}, as Cargo.toml has it"
    runtime = re.search(r"(?m)^ARG RUNTIME_IMAGE=(\S+)", dockerfile).group(1)
    if f'image.base.name="{runtime}"' not in dockerfile:
        yield f"the image's label for its base is not {runtime}"


def check(config):
    dockerfile, services = read("docker", "Dockerfile"), config["services"]
    expected = ["api", "grafana", "prometheus", "proxy", "redis"]
    if sorted(services) != expected:
        yield f"the services are {sorted(services)}, not {expected}: was a profile left out?"
        return
    for name, service in services.items():
        for problem in check_service(name, service, dockerfile):
            yield f"{name} {problem}"
    for name, volume in config["volumes"].items():
        if volume and volume.get("external"):
            yield f"the volume {name} is not the stack's own"
    if services["api"]["environment"]["TRUSTED_PROXIES"] != services["proxy"]["networks"]["front"]["ipv4_address"]:
        yield "the api does not trust the proxy's address, or more than that"
    yield from check_settings(services["api"], read(".env.example"), read("docker-compose.yml"))
    yield from check_image(dockerfile)


def main():
    problems = list(check(json.load(sys.stdin)))
    for problem in problems:
        print(f"docker-compose.yml: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    if sys.argv[1:]:
        print(__doc__.strip())
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    sys.exit(main())
