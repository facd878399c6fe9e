import type { ReceiptFields } from '#libs/domain/frames.ts'
import type { UserId } from '#libs/domain/ids.ts'

export type ReceiptRow = ReceiptFields & { readonly hidden: boolean }

type Viewer = { readonly userId: UserId; readonly role: string }

/** Of who is in the room now: one's own, and of those who show theirs. Admins see all. */
export function visibleReceipts({ userId: viewer, role }: Viewer, rows: readonly ReceiptRow[], present: readonly { readonly userId: UserId }[]): readonly ReceiptFields[] {
  const ids = new Set(present.map(({ userId }) => userId))
  return rows
    .filter(({ userId, hidden }) => ids.has(userId) && (!hidden || userId === viewer || role === 'admin'))
    .map(({ userId, delivered, seen }) => ({ userId, delivered, seen }))
}

/** @param below messages of before this user could see any */
export function unreadOf(messageCount: number, seen: number, below: number): number {
  return Math.max(0, messageCount - Math.max(seen, below))
}

/** Who has it: up to its index all was seen, or delivered. Its sender is left out. */
export function seenBy(receipts: readonly ReceiptFields[], { messageIndex, senderId }: { readonly messageIndex: number; readonly senderId: UserId }): { seenBy: UserId[]; deliveredTo: UserId[] } {
  const others = receipts.filter(({ userId }) => userId !== senderId)
  return {
    seenBy: others.filter(({ seen }) => seen >= messageIndex).map(({ userId }) => userId),
    deliveredTo: others.filter(({ delivered }) => delivered >= messageIndex).map(({ userId }) => userId),
  }
}
