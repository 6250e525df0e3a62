"""The differences between the languages: how a kernel starts and how a variable is set."""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .deno import DenoKernel
from .forks import FORK_SERVER
from .jupyter import JupyterKernel, Spawn
from .kernel import Kernel
from .process import Process

HERE = Path("/opt/code-interpreter")
RUN = Path("/run/code-interpreter")  # connection files and sockets of kernels


@dataclass(frozen=True, slots=True)
class Language:
    """How to start a kernel and how to write statements in its language."""

    argv: list[str]
    set_variable: Callable[[str, str], str]
    unset_variable: Callable[[str], str]
    reseed: str  # a statement that gives the process random numbers of its own
    together: Callable[[str], str] = str  # makes one of several statements, where that is quicker
    env: dict[str, str] = field(default_factory=dict)
    make: type[JupyterKernel] = JupyterKernel
    transport: str = "tcp"
    interrupt_by_message: bool = False
    spawn: Spawn = Process.spawn
    inherits_variables: bool = True  # from the environment of its process
    displays_results: bool = False  # it sends results as displays

    def kernel(self, cwd: str) -> Kernel:
        """Returns a kernel that has not started yet."""
        return self.make(
            self.argv,
            cwd=cwd,
            env={"HOME": "/root", **self.env},
            directory=RUN / uuid.uuid4().hex,
            transport=self.transport,
            interrupt_by_message=self.interrupt_by_message,
            spawn=self.spawn,
        )


def _script(text: str) -> str:
    """A string literal for JavaScript, R and Java."""
    return json.dumps(text)


_JJAVA = "/usr/local/share/jupyter/kernels/java"

JAVA_ARCHIVE = HERE / "java.jsa"  # made by archive.py
# As jjava-launcher.jar would start it, but without a Java process just for that. Opened are
# what the kernel needs, and Math.random, which has no other way to a new seed than its private
# generator. The other options start sooner and take less memory than the defaults.
_JAVA_OPTIONS = [
    "--add-opens=jdk.jshell/jdk.jshell=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "-XX:+UseSerialGC",
    f"-XX:SharedArchiveFile={JAVA_ARCHIVE}",  # what is missing in it is loaded as usual
]
_RESEED_JAVA = """{
    var generator = Class.forName("java.lang.Math$RandomNumberGeneratorHolder").getDeclaredField("randomNumberGenerator");
    generator.setAccessible(true);
    ((java.util.Random) generator.get(null)).setSeed(new java.security.SecureRandom().nextLong());
}"""

_DENO = Language(
    argv=["deno", "jupyter", "--kernel", "--conn", "{connection_file}"],
    set_variable=lambda k, v: f"process.env[{_script(k)}] = {_script(v)};",
    unset_variable=lambda k: f"delete process.env[{_script(k)}];",
    reseed="__cell.reseed();",
    env={
        "NO_COLOR": "1",
        "DENO_DIR": "/root/.cache/deno",
        "DENO_NO_UPDATE_CHECK": "1",
        "DENO_UNSTABLE_BARE_NODE_BUILTINS": "1",
    },
    make=DenoKernel,
    interrupt_by_message=True,
)

LANGUAGES: dict[str, Language] = {
    "python": Language(
        argv=["/usr/bin/python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        # This leaves names of user code, such as os, unchanged.
        set_variable=lambda k, v: f"__import__('os').environ[{k!r}] = {v!r}",
        unset_variable=lambda k: f"__import__('os').environ.pop({k!r}, None)",
        reseed="get_ipython().reseed()",  # of ipython/profile_default/startup/randomness.py
        env={
            "IPYTHONDIR": str(HERE / "ipython"),
            "MATPLOTLIBRC": str(HERE / "matplotlibrc"),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        },
        transport="ipc",
        spawn=FORK_SERVER.spawn,
    ),
    "javascript": _DENO,
    "typescript": _DENO,
    "r": Language(
        argv=["R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"],
        set_variable=lambda k, v: f"do.call(Sys.setenv, setNames(list({_script(v)}), {_script(k)}))",
        unset_variable=lambda k: f"Sys.unsetenv({_script(k)})",
        reseed="set.seed(NULL)",
        displays_results=True,
    ),
    "java": Language(
        argv=["java", *_JAVA_OPTIONS, "-jar", f"{_JJAVA}/jjava.jar", "{connection_file}"],
        set_variable=lambda k, v: f"System.setProperty({_script(k)}, {_script(v)});",
        unset_variable=lambda k: f"System.clearProperty({_script(k)});",
        reseed=_RESEED_JAVA,
        together="{{{}}}".format,  # JShell takes 0.1 s for each
        inherits_variables=False,  # variables are Java properties
        interrupt_by_message=True,
    ),
    "bash": Language(
        argv=["/usr/bin/python3", str(HERE / "bash/kernel.py"), "-f", "{connection_file}"],
        set_variable=lambda k, v: f"export {k}={shlex.quote(v)}",
        unset_variable=lambda k: f"unset {k}",
        reseed="RANDOM=$SRANDOM",
        transport="ipc",
        spawn=FORK_SERVER.spawn,
    ),
}

_ALIASES = {"": "python", "js": "javascript", "ts": "typescript"}


def normalize(name: str | None) -> str:
    """The language that a client means; it need not exist."""
    name = (name or "").strip().lower()
    return _ALIASES.get(name, name)
