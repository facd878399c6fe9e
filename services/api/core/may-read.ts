import type { UserId } from '#libs/domain/ids.ts'
import type { Participant } from '#libs/domain/room.ts'

/** Participants of now, and admins. Whoever was removed reads nothing any more, not even what he once saw. */
export function mayRead(
  { userId, role }: { readonly userId: UserId; readonly role: string },
  room: { readonly participants: readonly Participant[] },
): boolean {
  return role === 'admin' || room.participants.some((participant) => participant.userId === userId)
}
