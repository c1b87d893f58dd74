"""The rules of every metric."""

from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.gauges import COUNTERS, GAUGES
from metrics_server.rules.lookup import Rules

RULES = Rules(CATALOGUE, GAUGES, COUNTERS)
