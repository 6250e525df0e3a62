"""Has the code interpreter draw a chart, and keeps the picture."""

import base64

from e2b_code_interpreter import Sandbox

sandbox = Sandbox.create(timeout=300)
try:
    execution = sandbox.run_code("""
import matplotlib.pyplot as plt
plt.bar(["Mon", "Tue", "Wed"], [3, 1, 2])
plt.title("Sandboxes per day")
plt.show()
""")
    if execution.error:
        raise SystemExit(execution.error.traceback)
    picture = base64.b64decode(execution.results[0].png)
    with open("chart.png", "wb") as f:
        f.write(picture)
    print("chart.png:", len(picture), "bytes")
finally:
    sandbox.kill()
