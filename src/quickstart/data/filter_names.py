"""Why a window is left out: names of the filters, as settings and counts give them. Loads nothing."""

BINARY = "binary"
NEARLY_EMPTY = "nearly-empty"
REPETITIVE = "repetitive"
GENERATED = "generated"
MINIFIED = "minified"
BASE64 = "base64"
BOILERPLATE = "boilerplate"
NEAR_DUPLICATE = "near-duplicate"
PERSONAL = "personal"

DEFAULT_FILTERS = (BINARY, NEARLY_EMPTY, REPETITIVE, GENERATED, MINIFIED, BASE64, BOILERPLATE, NEAR_DUPLICATE)
FILTERS = (*DEFAULT_FILTERS, PERSONAL)
"""Those that can be chosen."""

DUPLICATE = "duplicate"
SECRET = "secret"
"""These two are always left out: nothing is scored twice, and what is published stays published."""
