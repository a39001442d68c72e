"""The supervisor, the engine process, and the client that HTTP workers talk to them with."""
