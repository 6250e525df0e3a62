"""Runs a program or a module, and leaves with its status as soon as it has ended.

The SDK's HTTP library (pyqwest) may abort the process while Python's interpreter ends: a thread of its own that
wants to tell Python something then is ended by Python (before 3.14) in a way that Rust does not bear
(curioswitch/pyqwest#164). What a test has found out by then must not depend on that.

Usage: program.py FILE ARGUMENT... or program.py -m MODULE ARGUMENT...
"""

import os
import runpy
import sys
import traceback


def status():
    """Runs what the arguments say."""
    try:
        if sys.argv[1] == "-m":
            sys.argv = sys.argv[2:]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = sys.argv[1:]
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return int(end.code or 0)
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


code = status()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
