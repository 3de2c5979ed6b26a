"""Training objectives and the variational bound."""

from unnoise.objectives.bound import Bound, bound, step_term
from unnoise.objectives.objectives import Batch, ConditionDropout, Objective, Simple

__all__ = ["Batch", "Bound", "ConditionDropout", "Objective", "Simple", "bound", "step_term"]
