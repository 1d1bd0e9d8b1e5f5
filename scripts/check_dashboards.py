#!/usr/bin/env python3
"""Checks Grafana's dashboards without Grafana: form, layout, and the rules that every panel and query must keep.

usage: check_dashboards.py [DASHBOARD.json ...]     default: all in docker/grafana/dashboards

Prints every problem, and exits 1 if there is one. What it cannot know is whether Grafana draws what is meant, and
whether the queries find data: check_expressions.py asks a real Prometheus for that.
"""

import glob
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DASHBOARDS = os.path.join(ROOT, "docker", "grafana", "dashboards", "*.json")
VARIABLES = ["datasource", "job", "handler", "instance"]
GRID_COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Families whose samples only mean something as a rate.
COUNTER = re.compile(r"(_total|_bucket|_sum|_count)$")
# A metric's name, its matchers, and its range, if it has them. PromQL's words are told apart by what follows them.
SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\})?\s*(\[[^\]]*\])?\s*(\()?")
WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right", "inf", "nan"}
GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")


def selectors(expression):
    """The (metric, matchers, range) that an expression reads; matchers and range with their brackets, or empty."""
    found = []
    # A bracket inside a label's value must not end the matchers.
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', lambda text: text.group().translate({ord(c): "." for c in "{}[]()"}), expression)
    blanked = GROUPING.sub(lambda text: " " * len(text.group()), bare)
    for match in SELECTOR.finditer(blanked):
        name, matchers, span, call = match.groups()
        before = blanked[: match.start()].rstrip()
        is_number = re.search(r"[0-9.]$", blanked[: match.start()]) is not None
        if call or name.lower() in WORDS or is_number or before.endswith("["):
            continue
        start, end = match.span(2)
        found.append((name, expression[start:end] if matchers else "", span or ""))
    return found


def queries(dashboard):
    """Every (where, expression) of a dashboard: of panels, and of annotations."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f'panel "{panel["title"]}" {target["refId"]}', target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield f'annotation "{annotation["name"]}"', annotation["expr"]


def check_query(expression):
    read = selectors(expression)
    if not read:
        yield "reads no metric"
    for metric, matchers, span in read:
        if not re.search(r'[{,]\s*job\s*=~?\s*"\$job"', matchers):
            yield f"{metric} has no job matcher"
        if span and span != "[$__rate_interval]":
            yield f"{metric}{span}: the range must be $__rate_interval"
        if COUNTER.search(metric) and not span:
            yield f"{metric} is a counter, and read without a rate"
    for le in re.findall(r'\ble\s*=~?\s*"([^"]*)"', expression):
        if re.fullmatch(r"[0-9]+", le):
            yield f'le="{le}" is le="{le}.0" to a newer Prometheus'


def check_panel(panel):
    if not panel.get("title", "").strip():
        yield "has no title"
    if panel["type"] == "row":
        return
    if len(panel.get("description", "").strip()) < 20:
        yield "has no description"
    elif not panel["description"].rstrip().endswith("."):
        yield "has a description that is no sentence"
    if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
        yield "has no unit"
    if panel.get("datasource") != DATASOURCE:
        yield "does not use the variable datasource"
    if not panel.get("targets"):
        yield "has no query"
    names = [target["refId"] for target in panel.get("targets", [])]
    if len(set(names)) != len(names):
        yield "has two queries of one name"
    for target in panel.get("targets", []):
        if target.get("datasource") != DATASOURCE:
            yield f'query {target["refId"]} does not use the variable datasource'


def check_layout(panels):
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] < 0 or place["w"] < 1 or place["h"] < 1 or place["x"] + place["w"] > GRID_COLUMNS:
            yield f'panel "{panel["title"]}" is outside the grid'
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"]:
                    yield f'panels "{other}" and "{panel["title"]}" overlap at {x},{y}'


def check_dashboard(dashboard):
    if not re.fullmatch(r"[a-z0-9-]{1,40}", dashboard.get("uid") or ""):
        yield "has no fixed uid"
    if dashboard.get("id") is not None:
        yield "has an id, which belongs to one Grafana's database"
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    if names != VARIABLES:
        yield f"has the variables {names} instead of {VARIABLES}"
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) != len(ids):
        yield "has two panels of one id"
    titles = [panel["title"] for panel in dashboard["panels"] if panel["type"] != "row"]
    for title in sorted({title for title in titles if titles.count(title) > 1}):
        yield f'has several panels "{title}"'
    for panel in dashboard["panels"]:
        for problem in check_panel(panel):
            yield f'panel "{panel.get("title")}" {problem}'
    yield from check_layout(dashboard["panels"])
    for where, expression in queries(dashboard):
        for problem in check_query(expression):
            yield f"{where}: {problem}"


def self_test():
    """The selectors are found by patterns, so the patterns are tried on what is hard for them."""
    cases = {
        'sum by (le) (rate(a_bucket{job="$job", p=~"x{2}|[y]"}[$__rate_interval]))':
            [("a_bucket", '{job="$job", p=~"x{2}|[y]"}', "[$__rate_interval]")],
        "a / on (job, b) group_left (c) d > bool 1e3": [("a", "", ""), ("d", "", "")],
        'count(ALERTS{job="j"}) or vector(0)': [("ALERTS", '{job="j"}', "")],
        "quantile_over_time(0.5, count by (job) (up{x=\"y\"} == 1)[1h:1m])": [("up", '{x="y"}', "")],
        "job:a:rate5m{} unless absent(b)": [("job:a:rate5m", "{}", ""), ("b", "", "")],
    }
    for expression, expected in cases.items():
        if selectors(expression) != expected:
            sys.exit(f"check_dashboards.py: {expression} reads {selectors(expression)}, not {expected}")
    for wrong in ('a_total{job="$job"}', 'rate(a_total{job="$job"}[5m])', 'a{b="job"}', 'a{job="$job", le="1"}', "1"):
        if not list(check_query(wrong)):
            sys.exit(f"check_dashboards.py: nothing found wrong with {wrong}")


def main(paths):
    self_test()
    paths = paths or sorted(glob.glob(DASHBOARDS))
    if not paths:
        sys.exit("check_dashboards.py: there is no dashboard to check")
    problems = 0
    for path in paths:
        with open(path, encoding="utf-8") as file:
            dashboard = json.load(file)
        for problem in check_dashboard(dashboard):
            print(f"{path}: {problem}")
            problems += 1
        asked = sum(1 for _ in queries(dashboard))
        print(f'{path}: {len(dashboard["panels"])} panels, {asked} queries')
    return 1 if problems else 0


if __name__ == "__main__":
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(__doc__.strip())
    else:
        sys.exit(main(sys.argv[1:]))
