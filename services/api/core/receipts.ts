import type { ReceiptFields } from '#libs/domain/frames.ts'
import type { UserId } from '#libs/domain/ids.ts'
import { readsAll } from './may-read.ts'

export type ReceiptRow = ReceiptFields & { readonly hidden: boolean }

type Viewer = { readonly userId: UserId; readonly role: string }

/** Of who is in the room now: one's own, and of those who show theirs. Admins and moderators see all. */
export function visibleReceipts(viewer: Viewer, rows: readonly ReceiptRow[], present: readonly { readonly userId: UserId }[]): readonly ReceiptFields[] {
  const ids = new Set(present.map(({ userId }) => userId))
  return rows
    .filter(({ userId, hidden }) => ids.has(userId) && (!hidden || userId === viewer.userId || readsAll(viewer)))
    .map(({ userId, delivered, seen }) => ({ userId, delivered, seen }))
}

/** Messages above the seen cursor. Who writes has seen what he answers, and who comes in need not see what is not his to read: their cursors say so. */
export const unreadOf = (messageCount: number, seen: number): number => Math.max(0, messageCount - seen)

/** Who has it: up to its index all was seen, or delivered. Its sender is left out. */
export function seenBy(receipts: readonly ReceiptFields[], { messageIndex, senderId }: { readonly messageIndex: number; readonly senderId: UserId }): { seenBy: UserId[]; deliveredTo: UserId[] } {
  const others = receipts.filter(({ userId }) => userId !== senderId)
  return {
    seenBy: others.filter(({ seen }) => seen >= messageIndex).map(({ userId }) => userId),
    deliveredTo: others.filter(({ delivered }) => delivered >= messageIndex).map(({ userId }) => userId),
  }
}
