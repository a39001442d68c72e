"""The page at `/` in real Chromium, against the real server: `make test-console`."""
