import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type LogHeaders, ReaderRule, sourceOf } from './reader-rule.ts'
import { OWNERSHIP_MARKER } from './topics.ts'

const marker: LogHeaders = { 'event-type': Buffer.from(OWNERSHIP_MARKER) }
const record = (epoch: bigint | number, source?: string): LogHeaders => ({ 'owner-epoch': Buffer.from(`${epoch}`), ...(source !== undefined && { source: Buffer.from(source) }) })

test('on a marker its offset is the epoch, and only records of that epoch are valid', () => {
  const rule = new ReaderRule()
  expect(rule.epoch).toBe(-1n)
  expect([rule.judge(7n, marker), rule.epoch]).toEqual(['marker', 7n])
  expect(rule.judge(8n, record(7))).toBe('valid')
  expect(rule.judge(9n, record(6))).toBe('void')
  expect(rule.judge(10n, record(9))).toBe('void')
  expect([rule.judge(11n, marker), rule.epoch]).toEqual(['marker', 11n])
  expect(rule.judge(12n, record(7))).toBe('void')
  expect(rule.judge(13n, record(11))).toBe('valid')
})

test('0 is a real epoch', () => {
  const rule = new ReaderRule()
  rule.judge(0n, marker)
  expect(rule.judge(1n, record(0))).toBe('valid')
})

test('before the first marker nothing is valid, whatever it claims', () => {
  for (const claim of ['-1', '0', '', '5']) expect(new ReaderRule().judge(5n, { 'owner-epoch': claim })).toBe('void')
})

test.each([{}, { 'owner-epoch': undefined }, { 'owner-epoch': '07' }, { 'owner-epoch': ' 7' }, { 'owner-epoch': '0x7' }, { 'event-type': 'messageSent' }, { other: 'x' }])('foreign headers %j are void', (headers) => {
  const rule = new ReaderRule(7n)
  expect(rule.judge(9n, headers)).toBe('void')
  expect(rule.epoch).toBe(7n)
})

test('a header that comes more than once counts by its first value', () => {
  expect(new ReaderRule(7n).judge(9n, { 'owner-epoch': [Buffer.from('7'), Buffer.from('3')] })).toBe('valid')
})

test('a valid record whose source is not above the last one of its topic is a corrupt log; a void one is nothing', () => {
  const rule = new ReaderRule(0n, new Map([['commands', 4n]]))
  expect(rule.judge(5n, record(0, 'commands:5'))).toBe('valid')
  expect(rule.judge(6n, record(0, 'orders:0'))).toBe('valid')
  expect(rule.judge(7n, record(3, 'commands:5'))).toBe('void')
  expect(() => rule.judge(8n, record(0, 'commands:5'))).toThrow(expect.objectContaining({ code: 'log_corrupt' }))
  expect(() => new ReaderRule(0n, new Map([['commands', 4n]])).judge(1n, record(0, 'commands:4'))).toThrow(expect.objectContaining({ code: 'log_corrupt' }))
})

test('a source is the text behind the last colon; anything else is none', () => {
  expect(sourceOf({ source: 'a:b:12' })).toEqual({ topic: 'a:b', offset: 12n })
  expect(sourceOf({ source: `t:${2n ** 60n}` })).toEqual({ topic: 't', offset: 2n ** 60n })
  for (const text of ['', ':', 't:', ':1', 't:-1', 't:1x', 't', `t:${'9'.repeat(20)}`]) expect(sourceOf({ source: text })).toBeUndefined()
})

test('a reader that starts anywhere with the stored epoch judges as one that has read from the start', () => {
  const logs = fc.array(fc.oneof(fc.constant('marker' as const), fc.nat(12)), { maxLength: 40 })
  fc.assert(
    fc.property(logs, fc.nat(40), (log, from) => {
      const headers = log.map((entry) => (entry === 'marker' ? marker : record(entry)))
      const whole = new ReaderRule()
      const verdicts = headers.map((h, i) => ({ verdict: whole.judge(BigInt(i), h), epoch: whole.epoch }))
      const late = new ReaderRule(verdicts[from - 1]?.epoch ?? -1n)
      for (let i = from; i < log.length; i++) expect({ verdict: late.judge(BigInt(i), headers[i]!), epoch: late.epoch }).toEqual(verdicts[i])
    }),
  )
})
