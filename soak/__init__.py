"""Fault loops: kills, disks that fail, damaged files and random faults, again and again.

``python -m soak`` runs them, continues where it was stopped, and writes ``reports/reliability.md``.
Faults are made here, never in the product.
"""
