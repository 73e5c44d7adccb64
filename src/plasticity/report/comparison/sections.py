"""The sections of a study's page after the scorecard, in order; those without data are left out."""

from plasticity.report.comparison import (
    contrast_figures,
    correlation,
    costs,
    failures,
    integration,
    interventions,
    matrix,
    planner,
    published,
    slope,
    stream_tables,
    tickets,
)
from plasticity.report.comparison.gather import Comparison
from plasticity.report.parts import Section


def every(comparison: Comparison) -> tuple[Section, ...]:
    """Return the sections that this study has data for."""
    found = (
        contrast_figures.section(comparison),
        matrix.section(comparison),
        slope.section(comparison),
        tickets.section(comparison),
        costs.section(comparison),
        interventions.section(comparison),
        correlation.section(comparison),
        stream_tables.section(comparison),
        integration.section(comparison),
        published.section(comparison),
        planner.section(comparison),
        failures.section(comparison),
    )
    return tuple(section for section in found if section is not None)
