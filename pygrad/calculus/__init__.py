"""Derivatives as Values; and with them transforms, sparse Jacobians, Taylor series, minimizers and checks."""
