"""Values → one HTML file that opens offline. Everything that comes from the data is escaped."""

import base64
from importlib.resources import files
from pathlib import Path

from earsight.extras import require


def write_page(path: Path, template: str, **values: object) -> Path:
    """Fill ``template``, a file of this folder, with values."""
    jinja2 = require("jinja2")
    folder = files("earsight.scores")
    loader = jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    # backslashreplace: a file name that is not UTF-8 must not cost the whole page
    path.write_text(environment.get_template(template).render(**values), encoding="utf-8", errors="backslashreplace")
    return path
