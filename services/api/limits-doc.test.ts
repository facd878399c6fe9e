import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { errorCatalogue } from '#libs/domain/errors.ts'

const textOf = (file: string): string => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')
const limits = textOf('docs/limits.md')
/** limit, value, setting, beyond it, retryAfterMs, test */
const rows = limits
  .split('\n')
  .filter((line) => line.startsWith('|') && !/^\|\s*(limit \||---)/.test(line))
  .map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim()))

test('every variable that limits something is in docs/limits.md', () => {
  const described = [...textOf('docs/operations.md').matchAll(/^\| (`[A-Z][^|]*) \|/gm)].flatMap((row) => row[1]!.match(/[A-Z][A-Z0-9]*(_[A-Z0-9]+)+/g) ?? [])
  const limiting = described.filter((name) => /_MAX(_|$)|_PER_SECOND/.test(name))
  expect(limiting.length).toBeGreaterThan(20)
  expect(limiting.filter((name) => !limits.includes(`\`${name}\``))).toEqual([])
})

test('every limit says what happens beyond it, whether one is told when to come back, and which test tries it', () => {
  expect(rows.length).toBeGreaterThan(60)
  expect(rows.filter((cells) => cells.length !== 6 || cells.some((cell) => cell === '') || !/\.test\.ts` › "/.test(cells[5]!))).toEqual([])
  expect(rows.filter((cells) => !['yes', 'by REST', '–'].includes(cells[4]!))).toEqual([])
})

test('every code that says that something is too much is in docs/limits.md', () => {
  const codes = Object.keys(errorCatalogue).filter((code) => /^too_many_|_too_(long|large|old)$|^rate_limited$|_flood$|_expired$|_window_over$/.test(code) && code !== 'token_expired')
  expect(codes.filter((code) => !limits.includes(`\`${code}\``))).toEqual([])
})

test('where the same may be tried again, it is said when: by the log, or over HTTP by the api', () => {
  const wrong = rows.filter(([, , , beyond, retry]) => {
    const codes = Object.keys(errorCatalogue).filter((code) => beyond!.includes(`\`${code}\``)) as (keyof typeof errorCatalogue)[]
    return codes.length > 0 && codes.some((code) => errorCatalogue[code].retriable) !== (retry !== '–')
  })
  expect(wrong).toEqual([])
})
