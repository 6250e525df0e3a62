// Figures as data: every kind of chart, through the code interpreter SDK.
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { create, run } from './execution.mjs'

let sandbox
before(async () => {
  sandbox = await create()
  await run(sandbox, 'import datetime\nimport numpy as np\nimport matplotlib.pyplot as plt')
})

/** Draws, and returns the chart of the only figure, which must have a picture too. */
async function chart(code) {
  const { results, logs } = await run(sandbox, `plt.close("all")\n${code}\nplt.show()`)
  assert.equal(results.length, 1, code)
  assert.deepEqual(logs.stderr, [], code)
  assert.ok(results[0].png.startsWith('iVBOR'), code)
  assert.ok(results[0].text.startsWith('<Figure'), code)
  assert.deepEqual(results[0].extra, {}, code)
  return results[0].chart
}

test('lines', async () => {
  const line = await chart('plt.plot([1, 2, 3], [4, 5, 6], label="up"); plt.plot([1, 2], [0, 0.5])\nplt.title("Title"); plt.xlabel("x (s)"); plt.ylabel("y [kg]")')
  assert.equal(line.type, 'line')
  assert.equal(line.title, 'Title')
  assert.deepEqual([line.x_label, line.x_unit, line.y_label, line.y_unit], ['x (s)', 's', 'y [kg]', 'kg'])
  assert.deepEqual([line.x_scale, line.y_scale], ['linear', 'linear'])
  assert.deepEqual(line.elements.map((e) => e.label), ['up', 'Line 1'])
  assert.deepEqual(line.elements[0].points, [[1, 4], [2, 5], [3, 6]])
})

test('scatters', async () => {
  const scatter = await chart('plt.scatter([1, 2], [3, 4], label="a"); plt.scatter([5], [6], label="b")')
  assert.equal(scatter.type, 'scatter')
  assert.deepEqual(scatter.elements.map((e) => [e.label, e.points]), [['a', [[1, 3], [2, 4]]], ['b', [[5, 6]]]])
})

test('bars, upright and lying', async () => {
  const upright = await chart('plt.bar(["a", "b"], [1, 2])')
  assert.equal(upright.type, 'bar')
  assert.deepEqual(upright.elements.map((e) => [e.label, e.value]), [['a', 1], ['b', 2]])
  const lying = await chart('plt.barh(["a", "b"], [3, 4]); plt.xlabel("length (m)")')
  assert.equal(lying.type, 'bar')
  assert.deepEqual(lying.elements.map((e) => [e.label, e.value]), [['a', 3], ['b', 4]])
  assert.equal(lying.y_unit, 'm')
})

test('pies', async () => {
  const pie = await chart('plt.pie([25, 75], labels=["a", "b"])')
  assert.equal(pie.type, 'pie')
  assert.deepEqual(pie.elements.map((e) => [e.label, Math.round(e.angle), e.radius]), [['a', 90, 1], ['b', 270, 1]])
})

test('boxes with whiskers', async () => {
  const box = await chart('plt.boxplot([[1, 2, 3, 4, 5], [10, 20, 30, 40, 50, 200]], tick_labels=["a", "b"], patch_artist=True)')
  assert.equal(box.type, 'box_and_whisker')
  assert.deepEqual(box.elements, [
    { label: 'a', min: 1, first_quartile: 2, median: 3, third_quartile: 4, max: 5, outliers: [] },
    { label: 'b', min: 10, first_quartile: 22.5, median: 35, third_quartile: 47.5, max: 50, outliers: [200] }])
  await chart('plt.boxplot([[1, 2, 3]])') // its labels are NumPy values, about which the models of charts warn
})

test('scales', async () => {
  const log = await chart('plt.plot([1, 10, 100], [1, 2, 3]); plt.xscale("log")')
  assert.deepEqual([log.x_scale, log.y_scale], ['log', 'linear'])
  const days = await chart('plt.plot([datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)], [1, 2])')
  assert.equal(days.x_scale, 'datetime')
  assert.match(days.elements[0].points[0][0], /^2026-01-01/)
  assert.ok(days.x_ticks.every((tick) => /^\d{4}-\d\d-\d\d/.test(tick)), String(days.x_ticks))
  const words = await chart('plt.scatter(["low", "high", "low"], [1, 2, 3])')
  assert.equal(words.x_scale, 'categorical')
})

test('several charts in one figure', async () => {
  const figure = await chart('f, (a, b) = plt.subplots(1, 2); f.suptitle("Both")\na.plot([1, 2], [3, 4]); b.scatter([1], [2])')
  assert.equal(figure.type, 'superchart')
  assert.equal(figure.title, 'Both')
  assert.deepEqual(figure.elements.map((e) => e.type), ['line', 'scatter'])
})

test('others, and none', async () => {
  const image = await chart('plt.imshow(np.zeros((2, 2))); plt.title("A picture")')
  assert.deepEqual([image.type, image.title, image.elements], ['unknown', 'A picture', []])
  const { results } = await run(sandbox, 'plt.close("all")\nplt.plot([1, 2]); plt.show()\n"after"')
  assert.deepEqual(results.map((r) => r.chart?.type ?? r.text), ['line', 'after'])
})

test('figures of Plotly', async () => {
  const { results } = await run(sandbox, 'import plotly.graph_objects as go\ngo.Figure(data=[go.Bar(y=[2, 1, 3])]).show()')
  assert.ok(results.some((r) => 'application/vnd.plotly.v1+json' in r.raw.extra), JSON.stringify(results.map((r) => r.formats())))
})
