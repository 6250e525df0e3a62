"""The asynchronous client."""

import asyncio

from client import MINUTE, PREFIX, Template, e2b, equal, feature, sdk


async def asynchronous():
    sandbox = await sdk.AsyncSandbox.create("base", timeout=5 * MINUTE)
    try:
        outputs = await asyncio.gather(*(sandbox.commands.run(f"echo {i}") for i in range(10)))
        equal([o.stdout for o in outputs], [f"{i}\n" for i in range(10)])
        await sandbox.files.write("text.txt", "text")
        equal(await sandbox.files.read("text.txt"), "text")
        if hasattr(sandbox, "pause"):
            await sandbox.pause()
            await sandbox.connect()
            equal(await sandbox.files.read("text.txt"), "text")
    finally:
        await sandbox.kill()
    if Template is not None:
        steps = Template().from_base_image().run_cmd("true")
        assert (await e2b.AsyncTemplate.build(steps, f"{PREFIX}-async", cpu_count=1, memory_mb=512)).build_id


@feature("Asynchronous: commands, files, pause, build", 2 * MINUTE)
def _():
    asyncio.run(asynchronous())
