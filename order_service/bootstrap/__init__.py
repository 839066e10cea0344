"""The composition root: builds each process out of its settings, and owns what it opens.

Order of stopping: health says NOT_SERVING and no more calls are taken; calls and rounds under way finish within
SHUTDOWN_GRACE; then connections close; then the last spans are sent. Nothing depends on that order for safety: SIGKILL
at any instant needs no manual step.
"""

from order_service.bootstrap.api import api
from order_service.bootstrap.api_group import api_group
from order_service.bootstrap.process import database_of, known_migrations, new_id, saga_rules
from order_service.bootstrap.worker import Role, worker

__all__ = ["Role", "api", "api_group", "database_of", "known_migrations", "new_id", "saga_rules", "worker"]
