"""The demo's service in a process of its own, living in whatever year the story has come to."""

import argparse
from datetime import timedelta
from pathlib import Path

from api.serving import serve
from api.settings import Clock, Settings


def main() -> None:
    """Serve a folder on a free loopback port until stopped."""
    parser = argparse.ArgumentParser(prog="api.demo.service")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--days", type=int, default=0)
    given = parser.parse_args()
    serve(Settings(data=given.data, port=0), Clock(timedelta(days=given.days)))


if __name__ == "__main__":
    main()
