import type { UserId } from '#libs/domain/ids.ts'
import type { HistoryRule, Participant } from '#libs/domain/room.ts'

type Viewer = { readonly userId: UserId; readonly role: string }

/** `sinceSeq`: of when he came in. */
export type Member = Participant & { readonly sinceSeq?: number }

/** Of every room. */
export const readsAll = ({ role }: Pick<Viewer, 'role'>): boolean => role === 'admin' || role === 'moderator'

/** Participants of now, and who reads everything. Whoever was removed reads nothing any more, not even what he once saw. */
export function mayRead(viewer: Viewer, room: { readonly participants: readonly Member[] }): boolean {
  return readsAll(viewer) || room.participants.some((participant) => participant.userId === viewer.userId)
}

/** The first seq that he may see, of one who may read the room. */
export function visibleFrom(viewer: Viewer, room: { readonly participants: readonly Member[]; readonly history: HistoryRule }): number {
  if (room.history === 'all' || readsAll(viewer)) return 1
  return room.participants.find((participant) => participant.userId === viewer.userId)?.sinceSeq ?? 1
}
