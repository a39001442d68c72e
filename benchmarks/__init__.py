"""Measures the server as it is started for real; see README.md. Figures are printed, not judged."""
