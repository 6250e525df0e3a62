"""What the SDK makes of Dockerfiles, whose newest parser is a port of BuildKit's: every instruction
and form of argument (clients-2.63.md §6.2)."""

import os
import shutil
import tempfile
import unittest
import uuid

import httpx
from e2b import BuildException, Sandbox, Template

DOCKERFILE = r"""# syntax=docker/dockerfile:1
# escape=\
ARG MODE=640
FROM --platform=linux/amd64 e2bdev/base AS only
MAINTAINER somebody
LABEL a=b
EXPOSE 80
VOLUME /data
SHELL ["/bin/bash", "-c"]

ARG VERSION=1.22.3 EMPTY
ENV HELLO="hello world" PLAIN=a\ b QUOTED='single "quoted"'
ENV OLD form of a variable
ENV HELLO=bye BEFORE=$HELLO
ENV MAJOR=${VERSION%%.*} MINOR=${VERSION#*.} DASHED=${VERSION//./-} NONE=${UNSET:-none} SOME=${VERSION:+some} OF=${VERSION:?unset}
ENV PATH=/opt/tools/bin:$PATH

RUN --mount=type=cache,target=/root/.cache \
    # a comment among continuations
    echo "$BEFORE|$HELLO|$PLAIN|$QUOTED|$OLD" > /variables && \
    echo "$MAJOR|$MINOR|$DASHED|$NONE|$SOME|$OF|$EMPTY|$PATH" >> /variables
RUN ["/bin/sh", "-c", "echo '$HELLO' \"$0\" > /exec-form", "a b"]
RUN <<EOF
value=several
echo "$value" > /script
echo lines >> /script
EOF
RUN <<'PY'
#!/usr/bin/env python3
open("/shebang", "w").write("python\n")
PY
RUN cat <<-ONE > /one && cat <<TWO > /two
	tabs go
ONE
$HELLO
TWO

RUN groupadd -g 4000 app && useradd -m -u 4001 -g app app
COPY one.txt "two words.txt" /copied/
COPY ["two words.txt", "/a b/c d.txt"]
COPY --chown=app:app --chmod=$MODE --link one.txt /owned/by/app.txt
COPY --chown=1:2 --chmod=0750 folder /folder
ADD --chown=4001 --checksum=sha256:0 folder/*.txt /globbed
ENV TARGET=/from/variable OWNER=app
COPY --chown=$OWNER one.txt $TARGET/
COPY --chown=app --chmod=600 <<FIRST <<'SECOND' /heredoc/
$HELLO $(id) `id`
FIRST
$HELLO
SECOND
WORKDIR /work dir/$MAJOR
COPY <<EOF nested/file
relative
EOF
RUN pwd > where && id -un >> where
USER 4001
WORKDIR sub
RUN id -un > who && pwd >> who
USER app:app
HEALTHCHECK CMD true
STOPSIGNAL SIGTERM
ENTRYPOINT ["/bin/sh", "-c", "echo \"$0|$1|$HELLO\" > /tmp/started; exec sleep infinity"]
CMD ["a b", "$HELLO"]
"""


class Dockerfiles(unittest.TestCase):
    def setUp(self):
        self.context = tempfile.mkdtemp(prefix="shoal-dockerfile-")
        self.addCleanup(shutil.rmtree, self.context)
        os.mkdir(os.path.join(self.context, "folder"))
        for name, text in {"one.txt": "one\n", "two words.txt": "two\n", "folder/a.txt": "a\n", "folder/b.sh": "b\n"}.items():
            with open(os.path.join(self.context, name), "w") as f:
                f.write(text)

    def build(self, dockerfile):
        name = f"py-{uuid.uuid4().hex[:12]}"
        self.addCleanup(httpx.delete, f"{os.environ['E2B_API_URL']}/templates/{name}",
                        headers={"X-API-Key": os.environ["E2B_API_KEY"]}, timeout=60)
        lines = []
        Template.build(Template(file_context_path=self.context).from_dockerfile(dockerfile), name, cpu_count=1,
                       memory_mb=1024, on_build_logs=lambda e: lines.append(e.message))
        return name, lines

    def test_every_instruction(self):
        name, _ = self.build(DOCKERFILE)
        sandbox = Sandbox.create(name, timeout=60)
        self.addCleanup(sandbox.kill)

        def cat(path):
            return sandbox.commands.run(f"cat '{path}'", user="root").stdout

        def owned(path):
            return sandbox.commands.run(f"stat -c '%u:%g %a' '{path}'", user="root").stdout.strip()

        variables = cat("/variables").splitlines()
        self.assertEqual(variables[0], 'hello world|bye|a b|single "quoted"|form of a variable')
        self.assertTrue(variables[1].startswith("1|22.3|1-22-3|none|some|1.22.3||"), variables[1])
        self.assertEqual(cat("/exec-form"), "$HELLO a b\n")
        self.assertEqual(cat("/script"), "several\nlines\n")
        self.assertEqual(cat("/shebang"), "python\n")
        self.assertEqual(cat("/one") + cat("/two"), "tabs go\nbye\n")
        self.assertEqual(cat("/copied/one.txt") + cat("/copied/two words.txt") + cat("/a b/c d.txt"), "one\ntwo\ntwo\n")
        self.assertEqual(owned("/owned/by/app.txt"), "4001:4000 640")
        self.assertEqual([owned(p) for p in ("/folder", "/folder/a.txt", "/folder/b.sh")], ["1:2 755", "1:2 750", "1:2 750"])
        self.assertEqual(owned("/globbed/a.txt"), "4001:4001 644")
        self.assertEqual(owned("/from/variable/one.txt"), "4001:4000 644")
        self.assertEqual(cat("/heredoc/FIRST") + cat("/heredoc/SECOND"), "bye $(id) `id`\n$HELLO\n")
        self.assertEqual(owned("/heredoc/SECOND"), "4001:0 600")
        self.assertEqual(cat("/work dir/1/nested/file"), "relative\n")
        self.assertEqual(owned("/work dir/1/nested/file"), "0:0 644")
        self.assertEqual(cat("/work dir/1/where"), "/work dir/1\nroot\n")
        self.assertEqual(cat("/work dir/1/sub/who"), "app\n/work dir/1/sub\n")
        self.assertEqual(sandbox.commands.run("id -un; pwd").stdout, "app\n/work dir/1/sub\n")
        self.assertEqual(cat("/tmp/started"), "a b|$HELLO|bye\n")

    def test_without_user_and_workdir(self):
        name, lines = self.build("FROM e2bdev/base\nRUN id -un && pwd\nCMD echo shell form > /tmp/cmd; sleep infinity\n")
        self.assertTrue(any(line.endswith("[stdout]: root") for line in lines), lines)
        sandbox = Sandbox.create(name, timeout=60)
        self.addCleanup(sandbox.kill)
        self.assertEqual(sandbox.commands.run("id -un; pwd; cat /tmp/cmd").stdout, "user\n/home/user\nshell form\n")

    def test_failures(self):
        for steps, message in {
            "RUN false\nRUN true": "failed to run command 'false': exit status 1",
            "RUN <<EOF\nset -e\nfalse\nEOF": "exit status 1",
            "RUN <<EOF\n#!/bin/sh\nexit 7\nEOF": "exit status 7",
            "COPY --chown=nobody-knows one.txt /": "nobody-knows",
            "USER root:daemon": "the group of user 'root' is 'root', not 'daemon'",
            "USER $NONE": "the name is empty",
        }.items():
            with self.subTest(steps), self.assertRaisesRegex(BuildException, message):
                self.build("FROM e2bdev/base\n" + steps)
        with self.assertRaisesRegex(BuildException, "does not fill variables in FROM"):
            self.build("ARG TAG=3.12\nFROM python:$TAG")


if __name__ == "__main__":
    unittest.main()
