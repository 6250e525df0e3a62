"""Adapts bash_kernel to the server: every cell gets an answer, and the server is told
when the shell was replaced."""

import pexpect
from bash_kernel.kernel import BashKernel
from ipykernel.kernelapp import IPKernelApp


class Terminal(pexpect.spawn):
    """Does not wait 50 ms before each line that it sends, as if a terminal's echo had to be
    turned off first. A start alone sends some fifty lines."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.delaybeforesend = None


pexpect.spawn = Terminal  # with which BashKernel starts bash


class Kernel(BashKernel):
    shells = 0

    def _start_bash(self):
        super()._start_bash()
        self.shells += 1  # after `exit` a new one starts, without the variables

    def do_execute(self, code, silent, store_history=True, user_expressions=None, allow_stdin=False):
        before = self.shells
        try:
            reply = super().do_execute(code, silent, store_history, user_expressions, allow_stdin)
        except ValueError:  # bash waits for more input
            reply = self._fail("IncompleteInput", "The input is incomplete: a quote, a command or a heredoc in it has no end")
        return {**reply, "new_shell": self.shells > before}

    def _fail(self, name, value):
        error = {"ename": name, "evalue": value, "traceback": [f"{name}: {value}"]}
        self.send_response(self.iopub_socket, "error", error)
        return {"status": "error", "execution_count": self.execution_count, **error}


IPKernelApp.launch_instance(kernel_class=Kernel)
