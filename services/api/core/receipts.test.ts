import { expect, test } from 'vitest'
import type { UserId } from '#libs/domain/ids.ts'
import { type ReceiptRow, seenBy, unreadOf, visibleReceipts } from './receipts.ts'

const rows = [
  { userId: 'ann', delivered: 5, seen: 5, hidden: false },
  { userId: 'bob', delivered: 5, seen: 3, hidden: false },
  { userId: 'eve', delivered: 5, seen: 5, hidden: true },
  { userId: 'gone', delivered: 9, seen: 9, hidden: false },
] as ReceiptRow[]
const present = ['ann', 'bob', 'eve'].map((userId) => ({ userId: userId as UserId }))
const idsFor = (userId: string, role = 'user') => visibleReceipts({ userId: userId as UserId, role }, rows, present).map((receipt) => receipt.userId)

test('receipts are of those who are there and show them, and one\'s own', () => {
  expect(idsFor('ann')).toEqual(['ann', 'bob'])
  expect(idsFor('eve')).toEqual(['ann', 'bob', 'eve'])
  expect(idsFor('mod', 'moderator')).toEqual(['ann', 'bob', 'eve'])
  expect(idsFor('boss', 'admin')).toEqual(['ann', 'bob', 'eve'])
  expect(visibleReceipts({ userId: 'ann' as UserId, role: 'user' }, rows, present)[0]).toEqual({ userId: 'ann', delivered: 5, seen: 5 })
})

test('seen by all whose cursor is there, but not by the sender', () => {
  expect(seenBy(visibleReceipts({ userId: 'ann' as UserId, role: 'user' }, rows, present), { messageIndex: 4, senderId: 'ann' as UserId })).toEqual({ seenBy: [], deliveredTo: ['bob'] })
  expect(seenBy(rows, { messageIndex: 3, senderId: 'ann' as UserId })).toEqual({ seenBy: ['bob', 'eve', 'gone'], deliveredTo: ['bob', 'eve', 'gone'] })
})

test('unread is what is above the cursor', () => {
  expect([unreadOf(10, 4), unreadOf(10, 10), unreadOf(3, 5)]).toEqual([6, 0, 0])
})
