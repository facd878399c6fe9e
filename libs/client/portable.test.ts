import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const libs = normalize(join(dirname(fileURLToPath(import.meta.url)), '..'))
const ALLOWED_PACKAGES = new Set(['uuid', 'ulid'])

/** Every file that an app gets with the client, and the packages they import. */
function closure(entry: string): { files: Map<string, string>; packages: Set<string> } {
  const files = new Map<string, string>()
  const packages = new Set<string>()
  const open = [entry]
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    if (files.has(file)) continue
    const source = readFileSync(file, 'utf8')
    files.set(file, source)
    for (const [, from] of source.matchAll(/^(?:import|export)\s(?!type\s)[^;]*?\sfrom '([^']+)'/gm)) {
      if (from!.startsWith('.')) open.push(normalize(join(dirname(file), from!)))
      else if (from!.startsWith('#libs/')) open.push(join(libs, from!.slice('#libs/'.length)))
      else packages.add(from!)
    }
  }
  return { files, packages }
}

test('the client runs where there is no Node: no Node module, no Buffer, no process', () => {
  const { files, packages } = closure(join(libs, 'client/index.ts'))
  expect(files.size).toBeGreaterThan(15)
  expect([...packages].filter((name) => !ALLOWED_PACKAGES.has(name))).toEqual([])
  for (const [file, source] of files) {
    const code = source.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    expect(code.match(/['"]node:|\bBuffer\b|\bprocess\b|\brequire\(|\b__dirname\b/), file).toBeNull()
  }
})
