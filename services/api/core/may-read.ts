import type { UserId } from '#libs/domain/ids.ts'
import type { HistoryRule, Participant } from '#libs/domain/room.ts'

type Viewer = { readonly userId: UserId; readonly role: string }

/** `sinceSeq`: of when he came in. */
export type Member = Participant & { readonly sinceSeq?: number }

/** Participants of now, and admins. Whoever was removed reads nothing any more, not even what he once saw. */
export function mayRead({ userId, role }: Viewer, room: { readonly participants: readonly Member[] }): boolean {
  return role === 'admin' || room.participants.some((participant) => participant.userId === userId)
}

/** The first seq that he may see, of one who may read the room. */
export function visibleFrom({ userId, role }: Viewer, room: { readonly participants: readonly Member[]; readonly history: HistoryRule }): number {
  if (room.history === 'all' || role === 'admin') return 1
  return room.participants.find((participant) => participant.userId === userId)?.sinceSeq ?? 1
}
