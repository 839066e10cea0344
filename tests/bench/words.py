"""Figures in words."""

from tests.bench.measured import Compared, Figure, Row

SECONDS_UNIT = "s"
"""The unit of rows that compare latencies."""


def value_text(value: float, unit: str) -> str:
    """A figure of a row, in its unit."""
    if unit == SECONDS_UNIT:
        return f"{value * 1000:,.2f} ms"
    digits = 0 if value >= 100 else 1
    return f"{value:,.{digits}f} {unit}"


def ratio_text(row: Row, limit: Figure, service: Figure) -> str:
    """One round in a line."""
    values = f"service {value_text(service.value, row.unit)}, limit {value_text(limit.value, row.unit)}"
    return f"{values}, ratio {service.value / limit.value:.2f}"


def target_text(row: Row) -> str:
    """What must hold."""
    parts = []
    if row.at_least is not None:
        parts.append(f">= {row.at_least:g}")
    if row.at_most is not None:
        parts.append(f"<= {row.at_most:g}")
    parts += [f"{name} <= {most * 1000:g} ms" for name, most in row.most.items()]
    return ", ".join(parts)


def holds_text(compared: Compared) -> str:
    """Whether the target is met."""
    return "yes" if compared.holds else "NO"
