import { expect, test } from 'vitest'
import { PendingCommands } from './pending-commands.ts'

const command = (commandId: string, sentMs: number) => ({ commandId, sentMs, resolve: () => {}, reject: () => {} })

test('a command is taken once, by whoever comes first', () => {
  const pending = new PendingCommands<unknown>()
  pending.add(command('a', 1))
  expect(pending.take('b')).toBeUndefined()
  expect(pending.take('a')).toMatchObject({ commandId: 'a' })
  expect(pending.take('a')).toBeUndefined()
  expect(pending.size).toBe(0)
})

test('those sent up to a time are taken, the others stay', () => {
  const pending = new PendingCommands<unknown>()
  for (const [id, ms] of [['a', 1], ['b', 2], ['c', 3]] as const) pending.add(command(id, ms))
  pending.take('a')
  expect(pending.takeUntil(2).map(({ commandId }) => commandId)).toEqual(['b'])
  expect(pending.takeUntil(2)).toEqual([])
  expect([pending.size, pending.take('c')?.commandId]).toEqual([1, 'c'])
})
