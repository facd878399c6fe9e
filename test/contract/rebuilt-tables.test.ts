import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { copiedTables, foldedTables, POSITIONS_TABLE, transientTables } from '../../deploy/rebuild/tables.ts'

const dir = new URL('../../schemas/postgres/', import.meta.url)
const created = readdirSync(dir).flatMap((file) => [...readFileSync(new URL(file, dir), 'utf8').matchAll(/^CREATE TABLE (\w+) \(/gm)].map((match) => match[1]!))

test('every table is rebuilt from topics, or copied since no topic has it', () => {
  const known = [...foldedTables.map(({ name }) => name), ...copiedTables, ...transientTables, POSITIONS_TABLE]
  expect(created.length).toBeGreaterThan(10)
  expect(created.filter((name) => !known.includes(name)), 'add it to deploy/rebuild/tables.ts').toEqual([])
  expect(known.filter((name) => !created.includes(name)), 'no migration makes it').toEqual([])
})

test('nothing is both', () => {
  expect(foldedTables.filter(({ name }) => [...copiedTables, ...transientTables].includes(name))).toEqual([])
})
