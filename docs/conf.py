"""The site: ``python -m sphinx -W docs build/site``. It is built, read and searched without a network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ignite_recipes

project = "ignite_recipes"
release = ignite_recipes.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "_site.command_help",
    "_site.notebooks",
    "_site.pictures",
    "_site.public_names",
    "_site.sources",
]
exclude_patterns = ["examples", "_site"]

html_theme = "furo"
html_title = f"ignite_recipes {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
maximum_signature_line_length = 100
python_use_unqualified_type_names = True
# A list of settings may have one line for several names, which fields for single parameters cannot.
napoleon_use_param = napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks' outputs are stored in them, and compared by the tests
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

nitpicky = True
# It is built without the network: names of other packages are shown, and lead nowhere.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|contextlib|functools|ignite|logging|numpy|os|pandas|pathlib|pd|pl|polars|torch)\..*"),
    (
        "py:class",
        r"ArrayLike|Figure|Rows|.*Statistic|ignite_recipes\.registry\.[FT]|EvaluationStep|.*\.EvaluationStep",
    ),  # not public, or type variables
]
