"""Scripts that make the weights that are served; never imported by the server."""
