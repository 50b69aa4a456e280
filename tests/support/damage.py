"""Files as an accident leaves them."""


def truncate(path, missing=100):
    """Take the last bytes of a file away."""
    path.write_bytes(path.read_bytes()[:-missing])
