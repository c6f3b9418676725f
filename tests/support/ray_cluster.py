"""A Ray cluster on the loopback interface whose nodes have an address each."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: A node that does not answer counts as dead within a second, not ten.
_HEALTH_CHECK = {
    "health_check_period_ms": 250,
    "health_check_failure_threshold": 3,
    "health_check_timeout_ms": 5000,
}


class RayCluster:
    """A head without cores; nodes of one core are added by a test."""

    def __init__(self) -> None:
        from render.execution.ray_connection import import_ray

        import_ray("local")
        from ray.cluster_utils import Cluster

        head = {
            "num_cpus": 0,
            "node_ip_address": "127.0.0.1",
            "include_dashboard": False,
            "_system_config": _HEALTH_CHECK,
        }
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._count = 1
        self.address: str = self._cluster.address

    @contextmanager
    def nodes(self, *environments: dict[str, str]) -> Iterator[list[RayNode]]:
        """Add a node for each environment, for a while."""
        nodes = [self._add(environment) for environment in environments]
        try:
            yield nodes
        finally:
            for node in nodes:
                self._cluster.remove_node(node.node)

    def close(self) -> None:
        """Stop all nodes."""
        self._cluster.shutdown()

    def _add(self, environment: dict[str, str]) -> RayNode:
        self._count += 1
        address = f"127.0.0.{self._count}"
        node = self._cluster.add_node(num_cpus=1, node_ip_address=address, env_vars=environment or None)
        return RayNode(node, address)


class RayNode:
    """A node of the cluster."""

    def __init__(self, node: Any, address: str) -> None:
        self.node, self.address = node, address

    def kill(self) -> None:
        """End the node and all its processes at once, as a power cut would."""
        [raylet] = self.node.all_processes["raylet"]
        pid = raylet.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            os.kill(each, signal.SIGKILL)
