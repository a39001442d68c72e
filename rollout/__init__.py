"""The proof of losslessness behind real balancers: ``python -m rollout``; docs/lossless.md."""
