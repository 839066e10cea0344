"""What makes a RabbitMQ node private: its name, cookie, ports, configuration and environment."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from order_service.private_servers.ports import LOOPBACK

USER = "order_service"


@dataclass(frozen=True, slots=True)
class Node:
    """What is particular to one node."""

    folder: Path
    password: str
    port: int
    distribution_port: int
    epmd_port: int
    management_port: int | None

    def configuration(self) -> str:
        lines = [
            f"listeners.tcp.1 = {LOOPBACK}:{self.port}",
            f"default_user = {USER}",
            f"default_pass = {self.password}",
            "disk_free_limit.absolute = 50MB",
        ]
        if self.management_port:
            lines += [f"management.tcp.ip = {LOOPBACK}", f"management.tcp.port = {self.management_port}"]
        return "\n".join(lines) + "\n"

    def environ(self, search_path: str) -> dict[str, str]:
        """The whole environment of the node: nothing of a system broker's settings or of ours gets in."""
        at = self.folder
        return {
            "PATH": search_path,
            "LANG": "C.UTF-8",
            "HOME": str(at),
            "ERL_CRASH_DUMP_SECONDS": "0",
            # The node finds the epmd that we started; a daemon that it started by itself would outlive everything.
            "ERL_AFLAGS": "-start_epmd false",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": f"order-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_CONFIG_FILE": str(at / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(at / "conf.d/*.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(at / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(at / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(at / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(at / "mnesia"),
            "RABBITMQ_LOG_BASE": str(at),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(at / "pid"),
            # Has the script become the node, rather than a shell that waits for it: one process to stop.
            "RUNNING_UNDER_SYSTEMD": "true",
            # Without the first it listens on every interface; the others keep idle schedulers from burning CPU.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"
            " +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def write_files(self) -> None:
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(32))
        cookie.chmod(0o400)
        plugins = "rabbitmq_management" if self.management_port else ""
        (self.folder / "enabled_plugins").write_text(f"[{plugins}].\n")
        (self.folder / "advanced.config").write_text("[].\n")
        (self.folder / "rabbitmq-env.conf").touch()
        (self.folder / "rabbitmq.conf").write_text(self.configuration())
