"""Serves on port 49999. A server that is killed leaves kernels behind; they are killed here."""

import logging
import shutil

from aiohttp import web

from .app import make_app
from .languages import RUN
from .process import end_leftovers

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
end_leftovers()
shutil.rmtree(RUN, ignore_errors=True)
web.run_app(make_app(), port=49999, handler_cancellation=True, access_log=None, keepalive_timeout=640, print=None)
