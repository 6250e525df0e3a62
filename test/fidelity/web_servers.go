package main

// webServers serve on loopback; where it can be, something is under way over the pause.
var webServers = []program{{
	name: "nginx", does: "files, a proxy, a reload; a download goes on over the pause", debian: []string{"nginx-light"},
	session: `mkdir -p www && head -c 4000000 /dev/urandom >www/large && echo 42 >www/answer
		cat >nginx.conf <<-'END'
		daemon off; pid nginx.pid; error_log stderr; worker_processes 2;
		events {}
		http {
		  access_log off;
		  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
		  server { listen 127.0.0.1:8085; root www; limit_rate 400k; }
		  server { listen 127.0.0.1:8086; location / { proxy_pass http://127.0.0.1:8085; } }
		}
		END
		exec /usr/sbin/nginx -p . -c nginx.conf`,
	ready: `curl -sf 127.0.0.1:8086/answer`,
	task: `setsid curl -sf 127.0.0.1:8086/large -o loaded >/dev/null 2>&1 </dev/null &
		waits test -s loaded; echo "it is $(curl -sf 127.0.0.1:8086/answer)"`,
	again: `if cmp -s www/large loaded; then false; fi; waits cmp www/large loaded
		echo 43 >www/answer && sed -i 's/400k/0/' nginx.conf && kill -HUP $(cat nginx.pid)
		waits eval 'curl -sf -m 1 127.0.0.1:8085/large | cmp - www/large'
		echo "it is $(($(curl -sf 127.0.0.1:8086/answer) - 1))"`,
	prints: "it is 42",
}, {
	name: "PHP-FPM", does: "pages of PHP behind nginx, with sessions", debian: []string{"nginx-light", "php-fpm"},
	session: `mkdir -p www s && echo '<?php session_start(); echo "visit ", $_SESSION["n"] = 1 + ($_SESSION["n"] ?? 0);' >www/index.php
		printf '%s\n' '[global]' 'error_log = /dev/stderr' '[www]' "listen = $PWD/fpm.sock" 'pm = static' 'pm.max_children = 2' \
			"php_admin_value[session.save_path] = $PWD/s" >fpm.conf
		/usr/sbin/php-fpm8.2 -F -y fpm.conf &
		cat >nginx.conf <<-END
		daemon off; pid nginx.pid; error_log stderr;
		events {}
		http {
		  access_log off;
		  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
		  server { listen 127.0.0.1:8087; root $PWD/www; index index.php;
		    location ~ [.]php { include /etc/nginx/fastcgi.conf; fastcgi_pass unix:$PWD/fpm.sock; } }
		}
		END
		exec /usr/sbin/nginx -p . -c nginx.conf`,
	ready:  `curl -sf 127.0.0.1:8087`,
	task:   `curl -sf -c jar 127.0.0.1:8087; echo; curl -sf -b jar 127.0.0.1:8087`,
	again:  `curl -sf -b jar 127.0.0.1:8087 | grep 'visit 3'; echo visit 2`,
	prints: "visit 2",
}, {
	name: "Apache", does: "files with rules in .htaccess, a CGI script", debian: []string{"apache2"},
	session: `mkdir -p web/cgi && echo 42 >web/answer.txt && printf 'RewriteEngine on\nRewriteRule ^answer$ answer.txt\n' >web/.htaccess
		printf '#!/bin/sh\necho; echo $((6 * 7))\n' >web/cgi/six && chmod +x web/cgi/six
		{
			for m in mpm_event authz_core mime dir alias rewrite cgid; do echo "LoadModule ${m}_module /usr/lib/apache2/modules/mod_$m.so"; done
			printf '%s\n' "DefaultRuntimeDir $PWD" "PidFile $PWD/a.pid" 'Listen 127.0.0.1:8088' 'ServerName localhost' 'ErrorLog /dev/stderr' \
				'TypesConfig /etc/mime.types' "ScriptSock $PWD/cgi.sock" "DocumentRoot $PWD/web" "ScriptAlias /cgi/ $PWD/web/cgi/" \
				"<Directory $PWD/web>" 'AllowOverride All' 'Options +FollowSymLinks' 'Require all granted' '</Directory>'
		} >apache.conf
		exec /usr/sbin/apache2 -d "$PWD" -f apache.conf -DFOREGROUND`,
	ready:  `curl -sf 127.0.0.1:8088/answer`,
	task:   `curl -sf 127.0.0.1:8088/answer; echo "it is $(curl -sf 127.0.0.1:8088/cgi/six)"`,
	prints: "it is 42",
}, {
	name: "Caddy", does: "HTTPS by an authority of its own, HTTP/2; a new configuration", debian: []string{"caddy"},
	session: `cat >Caddyfile <<-'END'
		{
		  skip_install_trust
		  auto_https disable_redirects
		}
		https://localhost:8443 {
		  tls internal
		  respond "it is 42"
		}
		END
		exec caddy run --config Caddyfile`,
	ready: `curl -sfk https://localhost:8443`,
	task:  `curl -sf -w ' by %{http_version}' --cacert .local/share/caddy/pki/authorities/local/root.crt https://localhost:8443`,
	again: `sed 's/it is 42/it is 43/' Caddyfile >New && caddy reload --config New --adapter caddyfile
		curl -sf --cacert .local/share/caddy/pki/authorities/local/root.crt https://localhost:8443 | grep 43; echo it is 42 by 2`,
	prints: "it is 42 by 2",
}, {
	name: "Flask and gunicorn", does: "the same workers answer after the pause", pypi: []string{"flask", "gunicorn"},
	session: `cat >app.py <<-'END'
		import os, flask
		app = flask.Flask(__name__)
		@app.post("/times/<int:x>")
		def times(x): return {"is": x * flask.request.json["by"], "by": os.getpid()}
		END
		exec gunicorn -w 2 --threads 2 -t 5 -b 127.0.0.1:8089 app:app`,
	ready: `curl -s 127.0.0.1:8089`,
	task: `pgrep -P $(cat .session.pid) | sort >workers
		curl -sf 127.0.0.1:8089/times/6 --json '{"by": 7}'`,
	again: `sleep 6; pgrep -P $(cat .session.pid) | sort | diff workers -
		curl -sf 127.0.0.1:8089/times/6 --json '{"by": 7}'`,
	prints: `"is":42`,
}, {
	name: "FastAPI and uvicorn", does: "checked bodies; a WebSocket lasts over the pause", pypi: []string{"fastapi", "uvicorn[standard]"},
	session: `cat >main.py <<-'END'
		from fastapi import FastAPI, WebSocket
		from pydantic import BaseModel
		class Pair(BaseModel):
		    a: int
		    b: int
		app = FastAPI()
		@app.post("/times")
		async def times(p: Pair): return {"is": p.a * p.b}
		@app.websocket("/echo")
		async def echo(ws: WebSocket):
		    await ws.accept()
		    while True: await ws.send_text("heard " + await ws.receive_text())
		END
		exec uvicorn main:app --port 8090`,
	ready: `curl -sf 127.0.0.1:8090/docs`,
	task: `cat >talk.py <<-'END'
		import os, time
		from websockets.sync.client import connect
		with connect("ws://127.0.0.1:8090/echo") as ws:
		    for word in "one", "two":
		        ws.send(word)
		        print(ws.recv(), flush=True)
		        while not os.path.exists("go"): time.sleep(0.05)
		END
		setsid /opt/python/bin/python talk.py >heard 2>&1 </dev/null &
		waits grep 'heard one' heard
		test "$(curl -s -o /dev/null -w '%{http_code}' 127.0.0.1:8090/times --json '{"a": "x"}')" = 422
		curl -sf 127.0.0.1:8090/times --json '{"a": 6, "b": 7}'`,
	again:  `touch go; waits grep 'heard two' heard; curl -sf 127.0.0.1:8090/times --json '{"a": 6, "b": 7}'`,
	prints: `"is":42`,
}, {
	name: "Django", does: "a project with a database; its server sees a change after the pause", pypi: []string{"django"},
	session: `django-admin startproject site1 && cd site1 && cat >site1/urls.py <<-'END'
		from django.contrib.auth.models import User
		from django.http import HttpResponse
		from django.urls import path
		urlpatterns = [path("", lambda r: HttpResponse(f"users {User.objects.count() + 0}"))]
		END
		/opt/python/bin/python manage.py migrate -v 0
		DJANGO_SUPERUSER_PASSWORD=x /opt/python/bin/python manage.py createsuperuser --noinput --username me --email me@example.com
		exec /opt/python/bin/python manage.py runserver 127.0.0.1:8091`,
	ready:  `curl -sf 127.0.0.1:8091`,
	task:   `curl -sf 127.0.0.1:8091`,
	again:  `sed -i 's/+ 0/+ 41/' site1/site1/urls.py; waits eval 'curl -s 127.0.0.1:8091 | grep "users 42"'; echo users 1`,
	prints: "users 1",
}, {
	name: "Jupyter", does: "a notebook is executed; a kernel keeps its variables", pypi: []string{"jupyterlab"},
	session: `exec jupyter lab --no-browser --ip 127.0.0.1 --port 8092 --IdentityProvider.token=secret`,
	ready:   `curl -sf '127.0.0.1:8092/api/status?token=secret'`,
	task: `echo '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"id": "a", "cell_type": "code", "metadata": {},
			"outputs": [], "execution_count": null, "source": "print(6 * 7)"}]}' >n.ipynb
		jupyter nbconvert --log-level=ERROR --to markdown --execute n.ipynb && grep 42 n.md
		curl -sf -X POST '127.0.0.1:8092/api/kernels?token=secret' | jq -r .id >kernel
		cat >run.py <<-'END'
		import glob, sys, time
		from jupyter_client import BlockingKernelClient
		kernel = open("kernel").read().strip()
		c = BlockingKernelClient()
		c.load_connection_file(glob.glob(f"/home/user/.local/share/jupyter/runtime/kernel-{kernel}.json")[0])
		c.start_channels()
		end = time.time() + 60
		while True:
		    try:
		        c.wait_for_ready(30)
		        break
		    except RuntimeError:  # it does not answer within a second while it starts
		        if time.time() > end: raise
		c.execute_interactive(sys.argv[1], timeout=30)
		END
		/opt/python/bin/python run.py 'x = 6 * 7; print("it is", x)'`,
	again:  `/opt/python/bin/python run.py 'print("it is", x)'`,
	prints: "it is 42",
}, {
	name: "Next.js", does: "a development server sees a change after the pause",
	setup: `mkdir -p next/app && cd next && echo '{}' >package.json
		npm install --no-audit --no-fund --loglevel=error next react react-dom
		echo 'export default function Layout({children}) { return <html><body>{children}</body></html> }' >app/layout.js
		echo 'export default function Page() { return <p>it is {"4" + "2"}</p> }' >app/page.js`,
	session: `cd next && NEXT_TELEMETRY_DISABLED=1 exec npx next dev -H 127.0.0.1 -p 8093`,
	ready:   `curl -sf 127.0.0.1:8093`,
	task:    `curl -sf 127.0.0.1:8093 | sed 's/<!-- -->//g'`,
	again:   `sed -i 's/it is/and now/' next/app/page.js; waits eval 'curl -sf 127.0.0.1:8093 | grep "and now"'; echo it is 42`,
	prints:  "it is 42",
}, {
	name: "Vite", does: "a development server tells a client of a change after the pause",
	setup: `mkdir -p vite && cd vite && echo '{}' >package.json && npm install --no-audit --no-fund --loglevel=error vite
		echo '<script type="module" src="/main.ts"></script>' >index.html
		echo 'const x: number = 42; console.log("it is", x)' >main.ts`,
	session: `cd vite && exec npx vite --host 127.0.0.1 --port 8094`,
	ready:   `curl -sf 127.0.0.1:8094/main.ts`,
	task: `token=$(curl -sf 127.0.0.1:8094/@vite/client | grep -oP 'wsToken = "\K[^"]*')
		setsid node -e 'new WebSocket("ws://127.0.0.1:8094/?token=" + process.argv[1], "vite-hmr").onmessage = m => console.log(m.data)' \
			"$token" >told 2>&1 </dev/null &
		waits grep connected told
		curl -sf 127.0.0.1:8094/main.ts | grep 'const x = 42'`,
	again:  `echo 'console.log(43)' >vite/main.ts; waits grep -E 'reload|update' told; echo const x = 42`,
	prints: "const x = 42",
}}
