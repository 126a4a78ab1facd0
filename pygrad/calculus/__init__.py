"""Derivatives as Values, and what is made of them: transforms, sparse Jacobians, Taylor series, checks."""
