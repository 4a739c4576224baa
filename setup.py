"""Packages and package data; all other metadata is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=find_packages(include=["pipelines*", "schemas*", "transforms*"]),
    package_dir={"": "."},
    package_data={
        "pipelines": ["py.typed"],
        "schemas": ["py.typed", "contracts/*.avsc", "contracts/*.json"],
        "transforms": ["py.typed"],
    },
)
