"""The metrics of several processes as one: prometheus_client's multiprocess mode, where each process writes its values
to a file of a folder and whoever is asked adds them up."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""What a process must have in its environment, when it starts, to write its values to a folder."""


def shared_registry(folder: str, pids: Callable[[], Mapping[str, int]]) -> CollectorRegistry:
    """What the processes that write to `folder` count together, and the system's figures of each of `pids`, by name."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    registry.register(_Processes(pids))
    return registry


def forget_gauges(folder: str, pid: int) -> None:
    """Leaves out what a process that has ended said of its present; what it counted stays counted."""
    mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


class _Processes(Collector):
    """`process_*` of several processes, with the label `process`."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for name, pid in self._pids().items():
            for metric in ProcessCollector(pid=functools.partial(int, pid), registry=None).collect():
                family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    family.add_sample(sample.name, {**sample.labels, "process": name}, sample.value)
        return families.values()
