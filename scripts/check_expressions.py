#!/usr/bin/env python3
"""Asks a real Prometheus, which scrapes a real server under mixed traffic, every query of the dashboards and rules.

usage: check_expressions.py TOLLGATE      the server's binary; redis-server, prometheus and promtool must be in PATH

Starts Redis, the server and Prometheus on free ports of loopback, sends requests of every kind, takes Redis away, and
then checks, while Redis is gone:
  - promtool has nothing against the names and types of the metrics;
  - every metric that a panel, a recording rule or an alert names exists with its matchers, that is, has a sample;
  - every panel's query gives an answer with a number in it;
  - the rules evaluate without an error, and the alerts that a lost Redis must set off fire.
The rules are the real ones, but that none waits: `for` is taken out, as nobody can wait ten minutes here.
Ends what it started, and exits 1 with every problem listed.
"""

import glob
import http.client
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from check_dashboards import DASHBOARDS, ROOT, queries, selectors

START_S = 30
# Long enough for a rate over RATE_INTERVAL to have seen both the good times and the bad.
TRAFFIC_S = 12
OUTAGE_S = 8
RATE_INTERVAL = "30s"
VARIABLES = {"$__rate_interval": RATE_INTERVAL, "$job": "tollgate", "$instance": ".*", "$handler": ".*"}
# Fire when Redis is lost, once they do not wait.
EXPECTED_ALERTS = {"TollgateRedisDown", "TollgateBreakerOpen", "TollgateDegradedDecisions"}


class Failed(Exception):
    """What cannot go on."""


class Process:
    """A program in the background, whose output is kept in a file."""

    def __init__(self, work, name, command, environment=None):
        self.log_path = os.path.join(work, name + ".log")
        self.name = name
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=work, env=environment or os.environ)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_for(self, pattern):
        """Waits until the output has this in it, and gives the match."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            found = re.search(pattern, self.log())
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise Failed(f"{self.name} did not start:\n{self.log()}")

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def start_redis(work):
    """Redis cannot be told to choose a port, so another one is tried if somebody was quicker."""
    for _ in range(5):
        port = free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", work]
        redis = Process(work, f"redis-{port}", command)
        try:
            redis.wait_for("Ready to accept connections")
            return redis, port
        except Failed as failure:
            redis.end()
            last = failure
    raise last


def start_server(work, binary, redis_port):
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    environment.update(LISTEN="127.0.0.1:0", REDIS_URL=f"redis://127.0.0.1:{redis_port}/", RATE_LIMIT="20", REFILL_RATE="1",
                       TRUSTED_PROXIES="127.0.0.1", WORKERS="3", ACCESS_LOG="off", LOG_FORMAT="text")
    server = Process(work, "tollgate", [os.path.abspath(binary)], environment)
    address = server.wait_for(r"http://(127\.0\.0\.1:\d+)").group(1)
    return server, address


def start_prometheus(work, server_address):
    rules = []
    for path in glob.glob(os.path.join(ROOT, "docker", "prometheus", "rules", "*.yml")):
        with open(path, encoding="utf-8") as file:
            impatient = re.sub(r"(?m)^\s+for: .*\n", "", file.read())
        rules.append(os.path.join(work, "rules-" + os.path.basename(path)))
        with open(rules[-1], "w", encoding="utf-8") as file:
            file.write(impatient)
    config = os.path.join(work, "prometheus.yml")
    with open(config, "w", encoding="utf-8") as file:
        json.dump({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": rules,
            "scrape_configs": [{"job_name": "tollgate", "static_configs": [{"targets": [server_address]}]}],
        }, file)
    prometheus = Process(work, "prometheus", [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={work}/tsdb", "--web.listen-address=127.0.0.1:0"])
    port = prometheus.wait_for(r'msg="Listening on" address=127\.0\.0\.1:(\d+)').group(1)
    prometheus.wait_for("Server is ready to receive web requests")
    return prometheus, f"http://127.0.0.1:{port}"


class Traffic(threading.Thread):
    """Requests of every kind, some 200 a second, until it is told to end."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address = address
        self.ending = threading.Event()
        self.answers = {}
        self.failure = None

    def run(self):
        try:
            turn = 0
            while not self.ending.is_set():
                connection = http.client.HTTPConnection(self.address, timeout=5)
                self.round(connection, turn)
                connection.close()
                self.malformed()
                turn += 1
                self.ending.wait(0.05)
        except (OSError, http.client.HTTPException) as failure:
            self.failure = failure

    def ask(self, connection, method, path, body=None, client="192.0.2.1"):
        headers = {"X-Forwarded-For": client}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
        return answer

    def round(self, connection, turn):
        for method, path in (("GET", "/api/status"), ("GET", "/api/ready"), ("GET", "/api/products"), ("HEAD", "/api/status"),
                             ("OPTIONS", "/api/products"), ("GET", "/nowhere"), ("PUT", "/api/status"), ("GET", "/api/products/none")):
            self.ask(connection, method, path)
        made = self.ask(connection, "POST", "/api/products", '{"name":"n","description":"d","price":1}')
        if made.status == 201 and turn % 2:
            self.ask(connection, "DELETE", made.headers["Location"])
        self.ask(connection, "POST", "/api/products", '{"name":7}')
        for _ in range(3):
            self.ask(connection, "POST", "/api/protected-action", "{}", client="198.51.100.7")
        self.ask(connection, "POST", "/api/protected-action", "{}", client=f"203.0.113.{turn % 250}")

    def malformed(self):
        host, port = self.address.split(":")
        with socket.create_connection((host, int(port)), timeout=5) as stream:
            stream.sendall(b"GET /api/status HTTP/1.1\r\n\r\n")
            stream.recv(4096)

    def end(self):
        self.ending.set()
        self.join()
        if self.failure:
            raise Failed(f"traffic came to an end: {self.failure!r}")


class Prometheus:
    """The part of its API that is needed."""

    def __init__(self, url):
        self.url = url

    def get(self, path, **parameters):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Failed(json.load(error).get("error", str(error))) from error

    def samples(self, expression):
        """The values that an expression has now."""
        data = self.get("query", query=expression)
        if data["resultType"] == "scalar":
            return [float(data["result"][1])]
        return [float(series["value"][1]) for series in data["result"]]

    def rules(self):
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]


def with_variables(expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    if "$" in re.sub(r'"[^"]*"', "", expression):
        raise Failed(f"{expression} has a variable that is not known here")
    return expression


def check_selectors(prometheus, where, expression, seen, problems):
    """Every metric of the expression must have a sample, with just the matchers it has there."""
    for metric, matchers, _ in selectors(expression):
        selector = metric + matchers
        if selector in seen:
            continue
        seen.add(selector)
        if not prometheus.samples(selector):
            problems.append(f"{where}: {selector} has no sample")


def check_panels(prometheus, seen, problems):
    asked = 0
    for path in sorted(glob.glob(DASHBOARDS)):
        with open(path, encoding="utf-8") as file:
            dashboard = json.load(file)
        for where, raw in queries(dashboard):
            asked += 1
            try:
                expression = with_variables(raw)
                check_selectors(prometheus, where, expression, seen, problems)
                # A start is an event, and there was just the one before the first scrape.
                if where.startswith("panel") and all(math.isnan(value) for value in prometheus.samples(expression)):
                    problems.append(f"{where}: {expression} finds no number")
                elif not where.startswith("panel"):
                    prometheus.samples(expression)
            except Failed as failure:
                problems.append(f"{where}: {failure}")
    return asked


def check_rules(prometheus, seen, problems):
    rules = prometheus.rules()
    firing = set()
    for rule in rules:
        where = f'{rule["type"]} rule {rule["name"]}'
        if rule.get("lastError"):
            problems.append(f'{where}: {rule["lastError"]}')
        try:
            check_selectors(prometheus, where, rule["query"], seen, problems)
        except Failed as failure:
            problems.append(f"{where}: {failure}")
        if rule["type"] == "recording" and not prometheus.samples(rule["name"]):
            problems.append(f"{where}: it has recorded nothing")
        if rule["type"] == "alerting" and rule["state"] == "firing":
            firing.add(rule["name"])
            for alert in rule["alerts"]:
                if "error expanding" in json.dumps(alert["annotations"]):
                    problems.append(f'{where}: {alert["annotations"]}')
    for name in sorted(EXPECTED_ALERTS - firing):
        problems.append(f"alert {name} does not fire while Redis is gone")
    return len(rules), sorted(firing)


def check_exposition(address, problems):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read()
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    if checked.returncode != 0:
        problems.append("promtool check metrics: " + (checked.stdout + checked.stderr).decode().strip())
    return text.count(b"\n# TYPE ") + text.startswith(b"# TYPE ")


def check(work, binary, started):
    redis, redis_port = start_redis(work)
    started.append(redis)
    server, address = start_server(work, binary, redis_port)
    started.append(server)
    process, url = start_prometheus(work, address)
    started.append(process)
    prometheus = Prometheus(url)
    traffic = Traffic(address)
    traffic.start()
    time.sleep(TRAFFIC_S)
    redis.end()
    time.sleep(OUTAGE_S)
    problems, seen = [], set()
    families = check_exposition(address, problems)
    asked = check_panels(prometheus, seen, problems)
    rules, firing = check_rules(prometheus, seen, problems)
    traffic.end()
    if server.process.poll() is not None:
        raise Failed(f"the server has ended:\n{server.log()}")
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(traffic.answers.items()))
    print(f"answers: {answers}")
    print(f"{families} families, {asked} queries of dashboards, {rules} rules, {len(seen)} selectors; firing: {', '.join(firing)}")
    return problems


def main(binary):
    for tool in ("redis-server", "prometheus", "promtool"):
        if not shutil.which(tool):
            raise Failed(f"{tool} is missing; install it first")
    work = tempfile.mkdtemp(prefix="tollgate-expressions-")
    started = []
    try:
        problems = check(work, binary, started)
    finally:
        for process in reversed(started):
            process.end()
        shutil.rmtree(work)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip())
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    try:
        sys.exit(main(sys.argv[1]))
    except Failed as failure:
        sys.exit(f"check_expressions.py: {failure}")
