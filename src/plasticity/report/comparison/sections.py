"""The sections of a study's page after the scorecard, in order; those without data are left out."""

from plasticity.report.comparison import contrast_figures, published
from plasticity.report.comparison.gather import Comparison
from plasticity.report.parts import Section


def every(comparison: Comparison) -> tuple[Section, ...]:
    """Return the sections that this study has data for."""
    found = (contrast_figures.section(comparison), published.section(comparison))
    return tuple(section for section in found if section is not None)
