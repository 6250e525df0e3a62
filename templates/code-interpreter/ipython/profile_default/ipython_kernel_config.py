"""Settings of every Python kernel."""

c = get_config()  # noqa: F821
c.InteractiveShell.colors = "NoColor"  # tracebacks are read by programs
c.PlainTextFormatter.max_seq_length = 0  # results are shown in full
c.InlineBackend.figure_formats = {"png"}
c.IPKernelApp.capture_fd_output = True
c.HistoryManager.enabled = False
