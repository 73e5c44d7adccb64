"""What all tests have in common: one thread, denormals to zero, as every computing process."""

import torch
from hypothesis import settings

torch.set_num_threads(1)
torch.set_flush_denormal(True)
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")
