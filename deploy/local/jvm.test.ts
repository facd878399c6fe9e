import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { classArchiveFlags, dropUnfinishedArchives, keepClassArchive } from './jvm.ts'

let servers: string
beforeEach(() => {
  servers = mkdtempSync(path.join(tmpdir(), 'order-chat-jvm-'))
})
afterEach(() => rmSync(servers, { recursive: true, force: true }))

const fresh = (): string => path.join(servers, `kafka-1.jsa.${process.pid}`)
const flags = (throwAway: boolean): string => classArchiveFlags({ servers }, 'kafka-1', { throwAway }).join(' ')

test('the first run writes an archive, the runs after an orderly stop use it', () => {
  expect(flags(false)).toContain(`-XX:ArchiveClassesAtExit=${fresh()}`)
  writeFileSync(fresh(), 'classes')
  keepClassArchive({ servers }, 'kafka-1', false)
  for (const throwAway of [false, true]) expect(flags(throwAway)).toContain(`-XX:SharedArchiveFile=${path.join(servers, 'kafka-1.jsa')}`)
})

test('the archive of a JVM that was killed is not used', () => {
  writeFileSync(fresh(), 'half of the classes')
  keepClassArchive({ servers }, 'kafka-1', true)
  expect(readdirSync(servers)).toEqual([])
})

test('a stack that is thrown away writes none', () => {
  expect(flags(true)).toBe('')
})

test('only archives of owners that are gone are dropped', () => {
  const NO_SUCH_PID = 2 ** 30
  writeFileSync(fresh(), '')
  writeFileSync(path.join(servers, `registry.jsa.${NO_SUCH_PID}`), '')
  dropUnfinishedArchives({ servers })
  expect(readdirSync(servers)).toEqual([path.basename(fresh())])
})
