"""Adds results that clients know beyond Jupyter's: data frames as data, figures as charts,
lists and dicts as JSON, and images that are saved or shown."""


def _install():
    import json
    import os
    import sys
    import warnings

    from IPython import get_ipython
    from IPython.core.formatters import BaseFormatter
    from IPython.display import display
    from traitlets import ObjectName, Unicode

    shell = get_ipython()
    formatters = shell.display_formatter.formatters

    class DataFormatter(BaseFormatter):
        format_type = Unicode("e2b/data")
        print_method = ObjectName("_repr_e2b_data_")
        _return_type = (dict, str)

    class ChartFormatter(BaseFormatter):
        format_type = Unicode("e2b/chart")
        print_method = ObjectName("_repr_e2b_chart_")
        _return_type = (dict, str)

        def __call__(self, obj):
            # Not for_type, because the inline backend removes what others registered for
            # figures.
            figures = sys.modules.get("matplotlib.figure")
            return chart(obj) if figures and isinstance(obj, figures.Figure) else None

    for kind in (DataFormatter, ChartFormatter):
        formatter = kind(parent=shell.display_formatter)
        formatters[formatter.format_type] = formatter

    def data(frame):
        import pandas

        columns = frame.to_dict(orient="list")
        return {
            str(name): [v.isoformat() if isinstance(v, pandas.Timestamp) else cell(v) for v in values]
            for name, values in columns.items()
        }

    def cell(value):
        """The value as JSON can represent it; what cannot be represented becomes text."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        form = plain(value)
        return str(value) if form is None else form

    def chart(figure):
        try:
            from e2b_charts import chart_figure_to_dict

            with warnings.catch_warnings():  # about its own models, which do not concern the user
                warnings.simplefilter("ignore")
                return chart_figure_to_dict(figure)
        except Exception:
            return {}

    def plain(value):
        import orjson

        try:
            options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
            return json.loads(orjson.dumps(value, option=options))
        except TypeError:
            return None

    formatters["e2b/data"].for_type_by_name("pandas.core.frame", "DataFrame", data)
    formatters["e2b/data"].for_type_by_name("pandas", "DataFrame", data)
    for kind in (list, dict):
        formatters["application/json"].for_type(kind, plain)

    import PIL.Image

    save = PIL.Image.Image.save
    depth = 0  # some formats call save again

    def save_and_display(self, fp, format=None, **params):
        nonlocal depth
        depth += 1
        try:
            save(self, fp, format, **params)
        finally:
            depth -= 1
        # IPython renders results by saving them to memory.
        if depth == 0 and isinstance(fp, (str, bytes, os.PathLike)):
            display(self)

    PIL.Image.Image.save = save_and_display
    PIL.Image.Image.show = lambda self, title=None: display(self)


_install()
del _install
