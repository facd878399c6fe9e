import { type ClientMessageId, directRoomId, disputeRoomId, groupRoomId, messageIdOf, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommandBody } from '#libs/domain/inputs.ts'
import type { Participant, RoomEvent, RoomKind } from '#libs/domain/room.ts'
import type { Random } from '../world/random.ts'

/** A room that no order has made, and who is in it to begin with. */
export type Conversation = { readonly roomId: RoomId; readonly kind: RoomKind; readonly creatorId: UserId; readonly create: RoomCommandBody & { readonly type: 'createRoom' } }

export const GROUP_CLIENT_ID = 'the group'

/** Are in no room, and look after all. */
export const MODERATORS: readonly string[] = ['moderator-1', 'moderator-2']

/** One of each kind, among the same people. */
export function conversationsOf(orderId: RoomId, [a, b, c]: readonly [UserId, UserId, UserId], history: 'all' | 'fromJoin'): readonly Conversation[] {
  const create = (roomId: RoomId, kind: RoomKind, participants: readonly Participant[], more: object): Conversation => ({ roomId, kind, creatorId: a, create: { type: 'createRoom', kind, participants, ...more } })
  return [
    create(groupRoomId(a, GROUP_CLIENT_ID), 'group', [{ userId: a, role: 'owner' }, ...[b, c].map((userId): Participant => ({ userId, role: 'member' }))], { history, name: 'g' }),
    create(directRoomId(a, b), 'direct', [a, b].sort().map((userId): Participant => ({ userId, role: 'member' })), {}),
    create(disputeRoomId(orderId), 'dispute', [{ userId: a, role: 'customer' }, { userId: b, role: 'vendor' }], { subjectId: orderId }),
  ]
}

/** Of a dispute. */
export const anyWordOfDispute = (random: Random, people: readonly UserId[]): RoomCommandBody => (random.chance(0.7) ? { type: 'inviteMediator', userId: random.pick(people) } : { type: 'resolveDispute' })

/** What a moderator may do. A frozen room does not stay so for long. */
export function anyModeration(random: Random, events: readonly RoomEvent[], people: readonly UserId[]): RoomCommandBody {
  const messages = events.flatMap((event) => (event.type === 'messageSent' ? [event] : []))
  const isFrozen = events.findLast((event) => event.type === 'roomFrozen')?.on ?? false
  const what = random.weighted({ redact: messages.length > 0 ? 3 : 0, freeze: isFrozen ? 6 : 1.5, expel: 0.5 })
  if (what === 'freeze') return { type: 'freezeRoom', on: random.chance(0.9) ? !isFrozen : isFrozen, ...(random.chance(0.5) && { reason: 'why' }) }
  if (what === 'expel') return { type: 'expelParticipant', userId: random.pick(people), reason: 'why' }
  const { messageId, seq } = random.pick(messages)
  return { type: 'redactMessage', messageId, reason: `why ${random.int(0, 9)}`, ...(random.chance(0.5) && { messageSeq: seq }) }
}

/** A message that somebody may have sent. */
export type Known = { readonly roomId: RoomId; readonly senderId: UserId; readonly clientMessageId: ClientMessageId }

/** Anything that can be asked of a room, mostly of what is there; not always what is allowed. */
export function anyChange(random: Random, roomId: RoomId, people: readonly UserId[], known: readonly Known[]): RoomCommandBody {
  const ofRoom = known.filter((message) => message.roomId === roomId)
  // Often the same few, so that much happens to one message.
  const target = ofRoom.length > 0 ? random.pick(random.chance(0.5) ? ofRoom.slice(-2) : ofRoom) : undefined
  const messageId = messageIdOf(roomId, target?.senderId ?? people[0]!, target?.clientMessageId ?? ('none' as ClientMessageId))
  const what = random.weighted({ edit: 3, delete: 1.5, react: 2, mark: 4, add: 1.6, remove: 0.8, invite: 0.8, accept: 0.6, rename: 0.4, report: 0.5, resolve: 0.15 })
  switch (what) {
    case 'edit':
      return { type: 'editMessage', messageId, content: `edited ${random.int(0, 999)}`, salt: 's' }
    case 'delete':
      return { type: 'deleteMessage', messageId }
    case 'react':
      return { type: 'react', messageId, emoji: '+1', on: random.chance(0.5) }
    case 'mark':
      return { type: 'mark', ...(random.chance(0.7) && { seen: random.int(0, 20) }), ...(random.chance(0.5) && { delivered: random.int(0, 20) }), ...(random.chance(0.2) && { hidden: true }) }
    case 'add':
      return { type: 'addParticipant', userId: random.pick(people), role: random.pick(['member', 'observer', 'owner']) }
    case 'remove':
      return { type: 'removeParticipant', userId: random.pick(people) }
    case 'invite':
      return { type: 'inviteMediator', userId: random.pick(people) }
    case 'accept':
      return { type: 'acceptInvitation' }
    case 'report':
      return { type: 'reportMessage', messageId, reason: random.pick(['spam', 'abuse']), ...(random.chance(0.5) && { note: `note ${random.int(0, 9)}` }) }
    case 'rename':
      return { type: 'changeRoom', name: `name ${random.int(0, 3)}` }
    default:
      return { type: 'resolveDispute' }
  }
}
