"""Uses a release of the Python SDK as its users do, and prints for each feature, as a line
of JSON, what came of it.

Usage: python run.py PACKAGE NAME, where PACKAGE is the module to import. Names of templates
begin with NAME. What a release does not have is asked for, not known from its number.
"""

import json
import os
import signal

from client import Missing, features, made

import lifecycle  # noqa: F401, I001 - each adds its features, in this order
import commands  # noqa: F401
import files  # noqa: F401
import templates  # noqa: F401
import asynchronous  # noqa: F401


def outcome(run, limit):
    """Runs a feature within its limit."""

    def late(*_):
        raise TimeoutError(f"took longer than {limit} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(limit)
    try:
        run()
        return {"outcome": "ok"}
    except Missing:
        return {"outcome": "n/a"}
    except Exception as error:  # whatever it is, this feature failed
        return {"outcome": "fails", "why": f"{type(error).__name__}: {error}"}
    finally:
        signal.alarm(0)


for name, run, limit in features:
    print(json.dumps({"feature": name, **outcome(run, limit)}), flush=True)
for sandbox in made:
    try:
        sandbox.kill()
    except Exception:
        pass  # it has ended already
os._exit(0)  # streams of what was killed may still be open
