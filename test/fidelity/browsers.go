package main

// page is a server of a page that counts clicks and tenths of a second.
const page = `cat >index.html <<-'END'
		<title>Clicks</title><button onclick="clicks.textContent++">Click</button>
		<p id="clicks">40</p><p id="ticks">0</p><script>setInterval(() => ticks.textContent++, 100)</script>
		END
		python3 -m http.server --bind 127.0.0.1 8095 &
		`

// chromium is Debian's, which the makers of playwright and Puppeteer do not ship; with theirs
// only the path is another.
var chromium = []string{"chromium", "fonts-dejavu-core"}

var browsers = []program{{
	name: "Chromium", does: "a page's text after its script, a picture, a PDF", debian: chromium,
	task: `echo '<p id="p"></p><script>p.textContent = "it is " + 6 * 7</script>' >a.html
		chrome() { chromium --headless --no-sandbox --disable-gpu "$@" "file://$PWD/a.html" 2>/dev/null; }
		rm -f a.png a.pdf; chrome --screenshot=a.png --window-size=420,420; file a.png | grep '420 x 420'
		chrome --print-to-pdf=a.pdf; file a.pdf | grep 'PDF document'
		chrome --dump-dom`,
	prints: "it is 42",
}, {
	name: "Firefox", does: "a picture of a page, by Chromium in its place", debian: append([]string{"firefox-esr"}, chromium...),
	gap:    `timeout 60 firefox-esr --headless --screenshot "$PWD/a.png" about:license && test -s a.png`,
	task:   `rm -f a.png; chromium --headless --no-sandbox --disable-gpu --screenshot=a.png about:blank 2>/dev/null; file a.png`,
	prints: "PNG image",
	note:   "Firefox sets the base of the GS register, which a guest may not, and ends at once. Chromium does not.",
}, {
	name: "Playwright", does: "click in a page of a browser that lives over the pause; a picture", debian: chromium, pypi: []string{"playwright"},
	session: page + `cat >browse.py <<-'END'
		from playwright.sync_api import sync_playwright
		with sync_playwright() as p:
		    b = p.chromium.launch(executable_path="/usr/bin/chromium", args=["--remote-debugging-port=9222"])
		    page = b.new_page()
		    page.goto("http://127.0.0.1:8095/")
		    page.wait_for_timeout(900_000)
		END
		exec /opt/python/bin/python browse.py`,
	ready: `curl -sf 127.0.0.1:9222/json | grep Clicks`,
	task: `cat >click.py <<-'END'
		from playwright.sync_api import sync_playwright
		with sync_playwright() as p:
		    page = p.chromium.connect_over_cdp("http://127.0.0.1:9222").contexts[0].pages[0]
		    ticks = int(page.inner_text("#ticks"))
		    page.wait_for_function("n => ticks.textContent > n", arg=ticks)
		    page.click("button")
		    page.screenshot(path="a.png")
		    print("clicked", page.inner_text("#clicks"))
		END
		/opt/python/bin/python click.py | grep 'clicked 41'; file a.png; echo clicked`,
	again:  `/opt/python/bin/python click.py | grep 'clicked 42'; file a.png; echo clicked`,
	prints: "clicked",
}, {
	name: "Puppeteer", does: "click in a page of a browser that lives over the pause; a picture", debian: chromium, npm: []string{"puppeteer-core"},
	session: page + `export NODE_PATH=$(npm root -g)
		cat >browse.cjs <<-'END'
		const puppeteer = require("puppeteer-core");
		(async () => {
		  const b = await puppeteer.launch({executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--remote-debugging-port=9223"]});
		  await (await b.newPage()).goto("http://127.0.0.1:8095/");
		})();
		END
		exec node browse.cjs`,
	ready: `curl -sf 127.0.0.1:9223/json | grep Clicks`,
	task: `cat >click.cjs <<-'END'
		const puppeteer = require("puppeteer-core");
		(async () => {
		  const b = await puppeteer.connect({browserURL: "http://127.0.0.1:9223"});
		  const page = (await b.pages()).find(p => p.url().includes("8095"));
		  const text = id => page.$eval(id, e => +e.textContent), ticks = await text("#ticks");
		  await page.waitForFunction(n => +document.querySelector("#ticks").textContent > n, {}, ticks);
		  await page.click("button");
		  await page.screenshot({path: "a.png"});
		  console.log("clicked", await text("#clicks"));
		  await b.disconnect();
		})();
		END
		NODE_PATH=$(npm root -g) node click.cjs | grep 'clicked 41'; file a.png; echo clicked`,
	again:  `NODE_PATH=$(npm root -g) node click.cjs | grep 'clicked 42'; file a.png; echo clicked`,
	prints: "clicked",
}, {
	name: "Selenium", does: "fill in a page by ChromeDriver, whose session lives over the pause", debian: []string{"chromium-driver"},
	pypi:    []string{"selenium"},
	session: page + `exec chromedriver --port=9515`,
	ready:   `curl -sf 127.0.0.1:9515/status && curl -sf 127.0.0.1:8095`,
	task: `cat >drive.py <<-'END'
		import os
		from selenium import webdriver
		from selenium.webdriver.common.by import By
		o = webdriver.ChromeOptions()
		for a in "headless", "no-sandbox", "disable-gpu": o.add_argument("--" + a)
		if os.path.exists("session"):
		    class Again(webdriver.Remote):
		        def start_session(self, capabilities): self.session_id = open("session").read()
		    d = Again("http://127.0.0.1:9515", options=o)
		else:
		    d = webdriver.Remote("http://127.0.0.1:9515", options=o)
		    open("session", "w").write(d.session_id)
		    d.get("http://127.0.0.1:8095/")
		d.find_element(By.TAG_NAME, "button").click()
		print("clicked", d.find_element(By.ID, "clicks").text)
		END
		/opt/python/bin/python drive.py | grep 'clicked 41'; echo clicked`,
	again:  `/opt/python/bin/python drive.py | grep 'clicked 42'; echo clicked`,
	prints: "clicked",
}}
