import { describe, expect, test } from 'vitest'
import { type MessageRow, messageView, productIdsOf, withProducts } from './message-view.ts'

const row = {
  roomId: 'r', seq: 2, messageId: 'm', clientMessageId: 'c', senderId: 'ann', messageIndex: 1, content: 'hi', timestamp: 1_000,
  messageType: null, payload: null, replyTo: null, replyToSeq: null, mentions: null, revision: null, deleted: false, redacted: null, hidden: false, reactions: null,
} as unknown as MessageRow
const plain = { roomId: 'r', seq: 2, messageId: 'm', clientMessageId: 'c', senderId: 'ann', messageIndex: 1, content: 'hi', timestamp: 1_000 }

describe('a message', () => {
  test('has only what it says', () => {
    expect(messageView(row)).toEqual(plain)
    expect(messageView({ ...row, revision: 0, reactions: [] })).toEqual(plain)
  })

  test('has all that it says', () => {
    const reactions = [{ emoji: '👍', count: 2, own: true }]
    const full = { ...row, messageType: 'location', payload: '{"location":{"latitude":1,"longitude":2}}', replyTo: 'm0', replyToSeq: 1, mentions: ['bob'], revision: 3, hidden: true, reactions } as unknown as MessageRow
    expect(messageView(full)).toEqual({ ...plain, messageType: 'location', location: { latitude: 1, longitude: 2 }, replyTo: 'm0', replyToSeq: 1, mentions: ['bob'], revision: 3, hidden: true, reactions })
  })

  test('that was deleted is a tombstone, whatever the row still has', () => {
    expect(messageView({ ...row, deleted: true, content: 'secret', payload: '{"productId":"p"}' })).toEqual({ ...plain, content: null, deleted: true })
    expect(messageView({ ...row, deleted: true, redacted: 'insult', content: 'secret' })).toEqual({ ...plain, content: null, deleted: true, redacted: 'insult' })
  })
})

test('cards get what their products are now, where it is known', () => {
  const card = (productId: string) => messageView({ ...row, messageType: 'productCard', payload: JSON.stringify({ productId }) })
  const cards = [card('p1'), card('p2'), card('p1'), messageView(row)]
  expect(productIdsOf(cards)).toEqual(['p1', 'p2'])
  const product = { productId: 'p1', name: 'Tea', updatedAtMs: 1 }
  expect(withProducts(cards, new Map([['p1', product]])).map((m) => m.product)).toEqual([product, undefined, product, undefined])
})
