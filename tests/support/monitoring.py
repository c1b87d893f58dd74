"""Alerts and panels of the deployment."""

import json

from metrics_server.simulator.kube.objects import Json
from tests.deployments.manifests import (
    SERVER,
    at,
    build,
    find,
    items,
)

OBJECTS = build("overlays/prometheus-operator")
RULES = find(OBJECTS, "PrometheusRule", SERVER)
ALERTS = [rule for group in items(RULES, "spec", "groups") for rule in items(group, "rules")]
DASHBOARD: Json = json.loads(
    str(at(find(OBJECTS, "ConfigMap", f"{SERVER}-dashboard"), "data", f"{SERVER}.json"))
)
PANELS = [panel for panel in items(DASHBOARD, "panels") if at(panel, "type") != "row"]
