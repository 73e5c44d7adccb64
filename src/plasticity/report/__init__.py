"""The report of one experiment: one operator, all its seeds. Reads tables, never torch.

``inputs`` reads, ``numbers`` condenses to intervals, ``findings`` chooses the sentences,
``figures`` draws, ``sections`` arranges, ``page`` writes.
"""
