"""What holds weights and plays: a package for each kind of model, and what this machine computes them in."""
