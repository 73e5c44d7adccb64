"""Many experiments, one verdict per claim: what ``python -m stages.compare`` reads and writes."""
