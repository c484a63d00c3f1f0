"""What a wheel holds: the rooms with their data, and the folders beside them, which `app/shipped.py` finds inside of `app`."""

from pathlib import Path

from setuptools import find_packages, setup

BESIDE = ("templates", "static", "migrations", "locales")


def files(folder: str) -> list[str]:
    return [str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]


setup(
    packages=[*find_packages(include=["app*", "trainer*"]), *(f"app.{folder}" for folder in BESIDE)],
    package_dir={f"app.{folder}": folder for folder in BESIDE},
    package_data={"": ["*.md", "*.jsonl"], **{f"app.{folder}": files(folder) for folder in BESIDE}},
)
