#!/usr/bin/env python3
"""Sends requests at a steady pace, and tells of each that failed, and when.

usage: steady_load.py URL SECONDS

Four clients send reads and protected actions in turns, some 80 a second together. A request has failed if it got no answer
or one of 500 and above. Prints a line "failed TIME METHOD PATH WHY" for each (TIME in Unix seconds), and at the end how many
were sent and how many failed. Exits 0 however many that were: what they mean is for the caller to judge.
"""

import http.client
import sys
import threading
import time
import urllib.parse

CLIENTS = 4
PAUSE_S = 0.05
REQUESTS = [
    ("GET", "/api/status", None),
    ("POST", "/api/protected-action", "{}"),
    ("GET", "/api/products?limit=1", None),
    ("POST", "/api/protected-action", "{}"),
]


class Client(threading.Thread):
    def __init__(self, address, until):
        super().__init__(daemon=True)
        self.address, self.until = address, until
        self.sent = {"GET": 0, "POST": 0}
        self.failures = []

    def run(self):
        connection = http.client.HTTPConnection(self.address, timeout=20)
        turn = 0
        while time.monotonic() < self.until:
            method, path, body = REQUESTS[turn % len(REQUESTS)]
            turn += 1
            why = self.ask(connection, method, path, body)
            self.sent[method] += 1
            if why:
                self.failures.append((time.time(), method, path, why))
                connection.close()
            time.sleep(PAUSE_S)

    def ask(self, connection, method, path, body):
        """Why the request failed, or nothing."""
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            text = answer.read()
            return f"{answer.status} {text[:200]}" if answer.status >= 500 else None
        except (OSError, http.client.HTTPException) as failure:
            return repr(failure)


def main(url, seconds):
    until = time.monotonic() + seconds
    clients = [Client(urllib.parse.urlsplit(url).netloc, until) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    failures = sorted(failure for client in clients for failure in client.failures)
    for when, method, path, why in failures:
        print(f"failed {when:.3f} {method} {path} {why}")
    gets, posts = (sum(client.sent[method] for client in clients) for method in ("GET", "POST"))
    print(f"sent {gets} GET and {posts} POST, {len(failures)} failed")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__.strip())
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    main(sys.argv[1], float(sys.argv[2]))
