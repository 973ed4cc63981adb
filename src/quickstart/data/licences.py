"""Which licences are permissive, and the licences of repositories whose data sets do not name them per file."""

NOT_PERMISSIVE = "licence"
"""The reason under which files are counted that are left out for their licence."""

REPOSITORY_LICENCES = {
    "astropy/astropy": "BSD-3-Clause",
    "django/django": "BSD-3-Clause",
    "matplotlib/matplotlib": "LicenseRef-matplotlib",
    "mwaskom/seaborn": "BSD-3-Clause",
    "pallets/flask": "BSD-3-Clause",
    "psf/requests": "Apache-2.0",
    "pydata/xarray": "Apache-2.0",
    "pylint-dev/pylint": "GPL-2.0-or-later",
    "pytest-dev/pytest": "MIT",
    "scikit-learn/scikit-learn": "BSD-3-Clause",
    "sphinx-doc/sphinx": "BSD-2-Clause",
    "sympy/sympy": "BSD-3-Clause",
}
"""The repositories of SWE-bench's test split, by their own licence files."""


def is_copyleft(licence: str) -> bool:
    return "GPL" in licence
