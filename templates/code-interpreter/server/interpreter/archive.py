"""Run in the template's build: keeps the classes that Java's kernel loads in an archive, from
which the kernels start in less time (class data sharing)."""

import asyncio
import dataclasses

from .kernel import KernelDied
from .languages import HERE, JAVA_ARCHIVE, LANGUAGES


# What first cells are made of, so that its classes are in the archive. An exit in order writes it.
CELLS = (
    "1 + 1",
    '{System.setProperty("a", "b"); System.clearProperty("a");}',
    'String greeting = "a"; System.out.println(greeting);',
    "import java.util.*; List.of(1, 2).stream().map(n -> n + 1).toList()",
    "int twice(int n) { return 2 * n; }",
    "record Point(int x, int y) {}",
    "System.exit(0)",
)


async def archive() -> None:
    java = LANGUAGES["java"]
    options = [word.replace("-XX:SharedArchiveFile=", "-XX:ArchiveClassesAtExit=") for word in java.argv]
    kernel = dataclasses.replace(java, argv=options).kernel(str(HERE))
    await kernel.start()
    try:
        for cell in CELLS:
            async for _ in kernel.execute(cell):
                pass
    except KernelDied:
        pass
    await kernel.close()
    if not JAVA_ARCHIVE.exists():
        raise SystemExit("the archive was not written")


asyncio.run(archive())
