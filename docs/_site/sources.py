"""Pages of source code, which the reference links to, are a hundred: they leave out the navigation, and lead back."""

from typing import Any

from sphinx.application import Sphinx


def _leave_out_the_navigation(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], _: Any) -> None:
    """It would be computed for each of them again, which takes longer than all the rest of the page."""
    if pagename.startswith("_modules/"):
        context.pop("toctree", None)


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls first."""
    app.connect("html-page-context", _leave_out_the_navigation, priority=400)  # the theme reads it at 500
    return {"parallel_read_safe": True}
