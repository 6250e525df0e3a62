// The templates of the Fragments app. Those that FRAGMENTS names must be built. Their
// server answers at once, and a browser shows what is written into the app's file.
import assert from 'node:assert/strict'
import http from 'node:http'
import { after, before, test } from 'node:test'
import { Sandbox } from 'e2b'
import { address, browse } from '../browser.mjs'
import { eventually, hostRequest } from '../sandbox.mjs'

const apps = {
  'nextjs-developer': { port: 3000, file: 'pages/index.tsx', first: 'Get started', code: (text) => `export default function Home() {\n  return <main className="p-8">{'${text}'.trim()}</main>\n}\n` },
  'vue-developer': { port: 3000, file: 'app/app.vue', code: (text) => `<script setup lang="ts">\nconst text: string = '${text}'\n</script>\n<template>\n  <main class="p-8">{{ text }}</main>\n</template>\n` },
  'streamlit-developer': { port: 8501, file: 'app.py', code: (text) => `import pandas as pd\nimport streamlit as st\n\nst.title("${text}")\nst.dataframe(pd.DataFrame({"a": [1]}))\n` },
  'gradio-developer': { port: 7860, file: 'app.py', code: (text) => `import gradio as gr\n\nwith gr.Blocks() as demo:\n    gr.Markdown("# ${text}")\n\ndemo.launch(server_port=7860)\n` },
}

let browser
before(async () => { browser = await browse() }, { timeout: 240_000 })
after(() => browser?.close())

/** The status of a page, requested by host name. */
function status(sandbox, port) {
  return new Promise((resolve, reject) => {
    http.get(hostRequest(sandbox, port), (answer) => {
      answer.resume()
      resolve(answer.statusCode)
    }).on('error', reject)
  })
}

/** Resolves when a newly opened page shows a text. */
async function shows(sandbox, port, text) {
  const page = await browser.newPage()
  try {
    await eventually(async () => {
      await page.goto(address(sandbox, port), { timeout: 60_000 }).catch(() => {}) // it may reload itself in the meantime
      return page.getByText(text).first().waitFor({ timeout: 20_000 }).then(() => true, () => false)
    }, `the page shows ${text}`, 150_000)
  } finally {
    await page.close()
  }
}

for (const name of process.env.FRAGMENTS.split(' ')) {
  const { port, file, code, first = 'Hello' } = apps[name]
  test(`${name} shows what is written into ${file}`, { timeout: 600_000 }, async () => {
    const sandbox = await Sandbox.create(name, { metadata: { template: name, userID: 'u', teamID: 't' }, timeoutMs: 600_000 })
    try {
      assert.equal(await status(sandbox, port), 200, 'right after the create')
      await shows(sandbox, port, first)
      for (const text of ['written once', 'written again']) {
        await sandbox.files.write(file, code(text))
        await shows(sandbox, port, text)
      }
    } finally {
      await sandbox.kill()
    }
  })
}
