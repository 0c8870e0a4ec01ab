"""Templates of the report and of the methods text."""

from __future__ import annotations

import jinja2


def load_report_template(name, filters, **options):
    """Compile a template.

    Parameters
    ----------
    name : str
        File in the folder ``templates``.
    filters : dict of str to callable
    **options
        Parameters of ``jinja2.Environment``, such as ``autoescape``.

    Returns
    -------
    template : jinja2.Template
        Undefined variables raise an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sk_b2s.reporting"), trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, **options,
    )  # fmt: skip
    environment.filters |= filters
    return environment.get_template(name)
