import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { systemClock } from './clock.ts'
import { envBool, envInt, envList, envOneOf, envSecret, envText, envUrl } from './env.ts'
import { Releasers } from './releasers.ts'
import { retryDelayMs, withRetry } from './retry.ts'
import { newTraceparent, traceIdOf } from './trace.ts'

describe('the environment', () => {
  const env = { INT: '12', NEGATIVE: '-1', WORD: 'x', EMPTY: ' ', LIST: 'a, b', HOLES: 'a,,b', URL: 'http://u:secret@h', YES: '1', NO: 'false' }

  test('values become what they are; what is set to nothing counts as not set', () => {
    expect([envInt(env, 'INT'), envInt(env, 'EMPTY', 3), envText(env, 'WORD'), envBool(env, 'YES', false), envBool(env, 'NO', true)]).toEqual([12, 3, 'x', true, false])
    expect([envList(env, 'LIST'), envUrl(env, 'URL'), envOneOf(env, 'WORD', ['x', 'y']), envSecret(env, 'NONE')]).toEqual([['a', 'b'], 'http://u:secret@h', 'x', undefined])
  })

  test.each([
    ['NONE', () => envText(env, 'NONE')],
    ['EMPTY', () => envInt(env, 'EMPTY')],
    ['WORD', () => envInt(env, 'WORD')],
    ['NEGATIVE', () => envInt(env, 'NEGATIVE')],
    ['INT', () => envInt(env, 'INT', 1, { max: 11 })],
    ['HOLES', () => envList(env, 'HOLES')],
    ['WORD', () => envBool(env, 'WORD', true)],
    ['WORD', () => envUrl(env, 'WORD')],
    ['WORD', () => envOneOf(env, 'WORD', ['y'])],
    ['FILE_FILE', () => envSecret({ FILE_FILE: '/no/such/file' }, 'FILE')],
  ])('an error names %s', (name, read) => {
    expect(read).toThrow(expect.objectContaining({ code: 'config_invalid', message: expect.stringContaining(name) }))
  })

  test('a secret may be in a file, whose last line end is none of it', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'env-')), 'secret')
    writeFileSync(file, 's3cret\n')
    expect(envSecret({ PASSWORD_FILE: file, PASSWORD: 'other' }, 'PASSWORD')).toBe('s3cret')
  })

  test('no error shows the password of a URL', () => {
    expect(() => envUrl({ U: 'ht tp://u:secret@h' }, 'U')).toThrow(expect.not.objectContaining({ message: expect.stringContaining('secret') }))
  })
})

describe('retries', () => {
  const clock = { nowMs: () => 0, sleep: async () => {} }
  const { signal } = new AbortController()

  test('delays grow to their bound, with jitter over the upper half', () => {
    const backoff = { delayMsMin: 100, delayMsMax: 1_000 }
    expect([0, 1, 2, 3, 4, 5_000].map((n) => retryDelayMs(n, backoff, () => 0))).toEqual([50, 100, 200, 400, 500, 500])
    expect(retryDelayMs(3, backoff, () => 0.999)).toBeCloseTo(800, 0)
  })

  test('goes on until it succeeds, or attempts end, or the failure is not worth it, or it is aborted', async () => {
    let calls = 0
    const failing = (times: number) => async () => {
      if (calls++ < times) throw new Error(`${calls}`)
      return calls
    }
    expect(await withRetry(failing(3), { clock, signal })).toBe(4)
    calls = 0
    await expect(withRetry(failing(9), { clock, signal, attemptsMax: 3 })).rejects.toThrow('3')
    calls = 0
    await expect(withRetry(failing(9), { clock, signal, shouldRetry: () => false })).rejects.toThrow('1')
    calls = 0
    await expect(withRetry(failing(9), { clock, signal: AbortSignal.abort(new Error('stopped')) })).rejects.toThrow('stopped')
    expect(calls).toBe(0)
  })

  test('a sleep ends with its signal', async () => {
    await expect(systemClock.sleep(60_000, AbortSignal.abort(new Error('stopped')))).rejects.toThrow('stopped')
    const controller = new AbortController()
    const sleeping = systemClock.sleep(60_000, controller.signal)
    controller.abort(new Error('later'))
    await expect(sleeping).rejects.toThrow('later')
  })
})

test('what was acquired is released in reverse, every one, once', async () => {
  const released: number[] = []
  const releasers = new Releasers()
  for (const n of [1, 2, 3]) {
    releasers.add(async () => {
      released.push(n)
      if (n === 2) throw new Error('two')
    })
  }
  await expect(releasers.releaseAll()).rejects.toMatchObject({ errors: [new Error('two')] })
  await releasers.releaseAll()
  expect(released).toEqual([3, 2, 1])
})

test('a trace goes on with a new span; what is no traceparent begins a new one', () => {
  const first = newTraceparent()
  const second = newTraceparent(first)
  expect(second).not.toBe(first)
  expect(traceIdOf(second)).toBe(traceIdOf(first))
  for (const bad of [undefined, '', 'x', `${first}x`, first.toUpperCase().replace('00-', '01-')]) expect(traceIdOf(newTraceparent(bad))).toMatch(/^[0-9a-f]{32}$/)
})
