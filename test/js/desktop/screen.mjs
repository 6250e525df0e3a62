// Shared by the desktop's suites: reads pictures of its screen.
import { inflateSync } from 'node:zlib'

/** The pixels of a PNG with 8 bits per channel, not interlaced, as scrot writes them. */
export function decode(png) {
  const width = png.readUInt32BE(16), height = png.readUInt32BE(20)
  const channels = { 2: 3, 6: 4 }[png[25]]
  if (png[24] !== 8 || !channels || png[28] !== 0) throw new Error('not a PNG as scrot writes them')
  const data = []
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') data.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)))
  }
  const packed = inflateSync(Buffer.concat(data)), stride = width * channels, points = Buffer.alloc(stride * height)
  for (let y = 0; y < height; y++) {
    const filter = packed[y * (stride + 1)], row = y * stride
    for (let x = 0; x < stride; x++) {
      const left = x < channels ? 0 : points[row + x - channels], up = y === 0 ? 0 : points[row + x - stride]
      const corner = x < channels || y === 0 ? 0 : points[row + x - stride - channels]
      points[row + x] = packed[y * (stride + 1) + 1 + x] + [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter]
    }
  }
  return { width, height, channels, points }
}

function paeth(left, up, corner) {
  const byLeft = Math.abs(up - corner), byUp = Math.abs(left - corner), byCorner = Math.abs(left + up - 2 * corner)
  return byLeft <= byUp && byLeft <= byCorner ? left : byUp <= byCorner ? up : corner
}

/** The pixels of a square around (x, y). */
export function box({ width, channels, points }, x, y, size) {
  const rows = []
  for (let row = y - size / 2; row < y + size / 2; row++) {
    const start = (row * width + x - size / 2) * channels
    rows.push(points.subarray(start, start + size * channels))
  }
  return Buffer.concat(rows)
}
