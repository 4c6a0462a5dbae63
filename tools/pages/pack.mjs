// Packs a folder of files into the archive that src/console/pages.c reads:
//   node pack.mjs FOLDER PAGES.json ARCHIVE
// PAGES.json names each HTML file's paths; every other file is found under its own name. What
// lies in assets/ has a hash or a version in its name, so that it may be kept for ever.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { extname, join, relative } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const [folder, pagesFile, archive] = process.argv.slice(2)
const FOREVER = 1, PAGE = 2, REFERENCE = 4
const HEAD_BYTES = 16, ENTRY_BYTES = 40

const types = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.woff2': 'font/woff2',
}

function* walk(at) {
  for (const entry of readdirSync(at, { withFileTypes: true })) {
    const path = join(at, entry.name)
    if (entry.isDirectory()) yield* walk(path)
    else yield path
  }
}

/** The bytes plain, with gzip and with brotli; a compressed form that saves nothing is left out. */
function encodings(bytes) {
  const gzip = gzipSync(bytes, { level: 9 })
  const brotli = brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  })
  const worth = (form) => (form.length < bytes.length * 0.95 ? form : Buffer.alloc(0))
  return [bytes, worth(gzip), worth(brotli)]
}

const pages = JSON.parse(readFileSync(pagesFile, 'utf8'))
const entries = []
for (const file of walk(folder)) {
  const name = relative(folder, file)
  const type = types[extname(name)]
  if (!type) throw new Error(`${name}: no type is known for it`)
  const bytes = readFileSync(file)
  const etag = `W/"${createHash('sha256').update(bytes).digest('hex').slice(0, 20)}"`
  const flags = name.startsWith('assets/') ? FOREVER
    : name === 'docs.html' ? PAGE | REFERENCE
    : extname(name) === '.html' ? PAGE : 0
  const bodies = encodings(bytes)
  for (const path of pages[name] ?? [`/${name}`]) entries.push({ path, type, etag, flags, bodies })
}
entries.sort((a, b) => (a.path < b.path ? -1 : 1))

// Equal texts and bodies are written once.
const parts = []
const places = new Map()
let end = HEAD_BYTES + entries.length * ENTRY_BYTES
function place(key, bytes) {
  if (bytes.length === 0) return 0
  if (!places.has(key)) {
    places.set(key, end)
    parts.push(bytes)
    end += bytes.length
  }
  return places.get(key)
}

const table = Buffer.alloc(end)
table.write('MGPAGES1', 'latin1')
table.writeUInt32LE(entries.length, 8)
entries.forEach((entry, i) => {
  const text = (s) => place(s, Buffer.from(`${s}\0`))
  const numbers = [text(entry.path), text(entry.type), text(entry.etag), entry.flags]
  for (const bytes of entry.bodies) numbers.push(place(bytes, bytes), bytes.length)
  numbers.forEach((n, k) => table.writeUInt32LE(n, HEAD_BYTES + i * ENTRY_BYTES + 4 * k))
})
writeFileSync(`${archive}.new`, Buffer.concat([table, ...parts]))
renameSync(`${archive}.new`, archive)
