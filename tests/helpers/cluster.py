"""A Ray cluster of two nodes on this machine.

Lines on its standard input tell it to kill a node or to add one. Prints `address ADDRESS`, then a
line for each command that it has carried out.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    """Serve commands until the input ends."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    nodes = [cluster.add_node(num_cpus=1)]
    print(f"address {cluster.address}", flush=True)
    for line in sys.stdin:
        if line.strip() == "kill" and nodes:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        elif line.strip() == "add" and not nodes:
            nodes.append(cluster.add_node(num_cpus=1))
        print(line.strip(), flush=True)


if __name__ == "__main__":
    main()
