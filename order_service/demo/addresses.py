"""What a person needs to know of a platform that keeps running: where everything is, and what to try."""

import os
import sys
from collections.abc import Iterator

from order_service.demo.processes import USUAL_PORTS, Needs, Processes
from order_service.private_servers import Servers
from order_service.private_servers.ports import LOOPBACK


def lines_to_try(needs: Needs, processes: Processes, servers: Servers) -> Iterator[str]:
    """The addresses, then commands to copy."""
    command = os.path.relpath(sys.argv[0])
    target = f"{LOOPBACK}:{processes.grpc_port}"
    elsewhere = "" if processes.grpc_port == USUAL_PORTS["grpc"] else f" --target {target}"
    place = f"{command} place --user ada{elsewhere} --item"
    yield f"""
  gRPC         {target}
  api          http://{LOOPBACK}:{processes.api_metrics_port}/metrics
  worker       http://{LOOPBACK}:{processes.worker_metrics_port}/metrics
  PostgreSQL   {needs.database_url}
  RabbitMQ     {needs.rabbitmq_url}"""
    if servers.rabbitmq_management_url:
        yield f"               {servers.rabbitmq_management_url}"
    yield f"""
Try, in another terminal:

  export DATABASE_URL={needs.database_url}
  export RABBITMQ_URL={needs.rabbitmq_url}
  {place} in-stock-tea:2:19.99
  {place} out-of-stock-tea:1:19.99
  {place} never-answered-tea:1:19.99  # cancelled after {needs.stock_timeout}
  {place} answered-late-tea:1:19.99 --no-wait
  {command} orders list
  {command} parked list

Ctrl-C stops everything."""
