"""The HTTP surface: a Flask application, one file per concern."""
