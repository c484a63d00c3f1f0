"""What we claim about speed and learning, each a script whose last line on stdout is one JSON object."""

from importlib.util import find_spec

BESIDE_THE_PROGRAM = (
    "aiohttp",
    "crowdkit",
    "httpx",
    "hypothesis",
    "krippendorff",
    "pandas",
    "playwright",
    "schemathesis",
    "ville",
)

if any(find_spec(package) is None for package in BESIDE_THE_PROGRAM):
    raise SystemExit("The benches need a few packages more than `make run` installs: run `make bench-setup` once.")
