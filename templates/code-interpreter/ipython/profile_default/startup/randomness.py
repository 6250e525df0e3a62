"""Gives a kernel that goes on in a copy of its sandbox random numbers of its own."""


def _install():
    import os
    import random
    import sys

    from IPython import get_ipython

    def reseed():
        random.seed()
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()
        if ssl := sys.modules.get("ssl"):  # OpenSSL, for whatever uses it
            ssl.RAND_add(os.urandom(32), 32)

    get_ipython().reseed = reseed


_install()
del _install
