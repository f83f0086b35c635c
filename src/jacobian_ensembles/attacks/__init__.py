"""Universal adversarial perturbations: the attacks, their losses, and the checks on what they return."""
