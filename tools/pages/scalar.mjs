// Fetches Scalar's API reference, ready for browsers, into FOLDER:  node scalar.mjs FOLDER
// Its package alone, whose hash web/package.json holds: its dependencies are built into it, and to
// install them would bring 280 packages that nothing here uses.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const web = fileURLToPath(new URL('../../web/', import.meta.url))
const { scalar_version: version, scalar_integrity: wanted } =
  JSON.parse(readFileSync(join(web, 'package.json'), 'utf8')).config
const out = process.argv[2]
const cache = join(web, 'node_modules/.scalar', version)

function fetchPackage() {
  const work = `${cache}.new`
  rmSync(work, { recursive: true, force: true })
  mkdirSync(work, { recursive: true })
  const name = execFileSync('npm', ['pack', '--silent', `@scalar/api-reference@${version}`],
    { cwd: work, encoding: 'utf8' }).trim()
  const tarball = join(work, basename(name))
  const found = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`
  if (found !== wanted) throw new Error(`${name}: its hash is ${found}, not ${wanted}`)
  execFileSync('tar', ['-xzf', tarball, '-C', work, '--strip-components=1',
    'package/dist/browser', 'package/package.json'])
  rmSync(tarball)
  renameSync(work, cache)
}

if (!existsSync(cache)) fetchPackage()
rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })
cpSync(join(cache, 'dist/browser'), out, {
  recursive: true,
  // The one-file build is not used, and maps are for its makers.
  filter: (from) => !from.endsWith('.map') && basename(from) !== 'standalone.js',
})
