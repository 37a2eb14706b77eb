"""Command line entry point."""


def main() -> None:
    """Run a command."""
