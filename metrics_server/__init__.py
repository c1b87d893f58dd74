"""gpu-metrics-server: the shortest way from a GPU to a HorizontalPodAutoscaler."""

from importlib.metadata import version

__version__ = version("gpu-metrics-server")
