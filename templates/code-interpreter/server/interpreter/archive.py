"""Run in the template's build: keeps the classes that Java's kernel loads in an archive, from
which the kernels start in less time (class data sharing)."""

import asyncio
import dataclasses

from .kernel import KernelDied
from .languages import HERE, JAVA_ARCHIVE, LANGUAGES


async def archive() -> None:
    java = LANGUAGES["java"]
    options = [word.replace("-XX:SharedArchiveFile=", "-XX:ArchiveClassesAtExit=") for word in java.argv]
    kernel = dataclasses.replace(java, argv=options).kernel(str(HERE))
    await kernel.start()
    try:
        for cell in ("1 + 1", "System.exit(0)"):  # an exit in order writes the archive
            async for _ in kernel.execute(cell):
                pass
    except KernelDied:
        pass
    await kernel.close()
    if not JAVA_ARCHIVE.exists():
        raise SystemExit("the archive was not written")


asyncio.run(archive())
