import fc from 'fast-check'
import { directRoomId, messageIdOf, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommandBody, RoomInput } from '#libs/domain/inputs.ts'
import { accepted, by, customer, idAt, room, T0, user, vendor } from './memory-tables.ts'

export const judge = user('judge')
const pair = directRoomId(customer, vendor)
/** Of each kind that can be made at will one room. */
export const openings: readonly RoomInput[] = [
  accepted,
  by(room('group'), customer, 900, { type: 'createRoom', kind: 'group', participants: [{ userId: customer, role: 'owner' }, { userId: vendor, role: 'member' }], name: 'n', metadata: { a: 'b' }, history: 'fromJoin' }),
  by(room('dispute'), customer, 901, { type: 'createRoom', kind: 'dispute', participants: [{ userId: customer, role: 'customer' }, { userId: vendor, role: 'vendor' }], subjectId: 'a' }),
]

export const payload = JSON.stringify({ productId: 'secret-product' })
const aRoom = fc.constantFrom(room('a'), room('group'), room('dispute'), pair)
const somebody = fc.constantFrom(customer, vendor, user('r0'), user('r1'), judge)
/** One of the few messages that there may be. */
const aMessage = fc.record({ roomId: aRoom, senderId: fc.constantFrom(customer, customer, vendor), nr: fc.nat(1) })
type Message = { readonly roomId: RoomId; readonly senderId: UserId; readonly nr: number }
const idOf = ({ roomId, senderId, nr }: Message) => messageIdOf(roomId, senderId, idAt(nr))
/** Of a command that is no message. */
const anyNr = fc.integer({ min: 10, max: 800 })

const orderEvents = fc.tuple(fc.nat(7), fc.nat(3), fc.boolean()).map(([kind, nr, on]): RoomInput => {
  const envelope = { orderId: kind < 4 ? room('a') : pair, eventId: `e${nr}`, occurredAtMs: T0 + nr }
  if (kind < 3) return { type: 'riderAssigned', ...envelope, riderId: user(`r${nr % 2}`) }
  if (kind === 3) return nr === 0 ? { type: 'orderEnded', ...envelope, reason: 'delivered' } : { ...accepted, ...envelope, orderId: room('late') }
  if (kind === 4) return { type: 'orderCreated', ...envelope, subjectId: `o${nr}`, customerId: customer, vendorId: vendor }
  return { type: 'blockChanged', ...envelope, blockerId: on ? customer : vendor, blockedId: on ? vendor : customer, on: nr > 1 }
})
const extras = fc.constantFrom<Partial<RoomCommandBody & { type: 'sendMessage' }>>({}, {}, { messageType: 'productCard', payload })
const sends = fc.tuple(aMessage, extras, fc.option(aMessage, { nil: undefined, freq: 2 })).map(([{ roomId, senderId, nr }, extra, first]) =>
  by(roomId, senderId, nr, { type: 'sendMessage', content: `secret ${nr}`, salt: 'pepper', ...extra, ...(first && { replyTo: idOf({ ...first, roomId }) }) }),
)
const changes = fc.tuple(aMessage, anyNr, fc.nat(5), somebody, fc.boolean()).map(([message, nr, what, other, on]): RoomInput => {
  const { roomId, senderId } = message
  const messageId = idOf(message)
  if (what < 2) return by(roomId, senderId, nr, { type: 'editMessage', messageId, content: `secret ${nr}`, salt: 'pepper' })
  if (what === 2) return by(roomId, senderId, nr, { type: 'deleteMessage', messageId })
  return by(roomId, on ? senderId : other, nr, { type: 'react', messageId, emoji: nr % 2 ? '+1' : ':x:', on })
})
const asked: fc.Arbitrary<RoomCommandBody> = fc.oneof(
  fc.record({ type: fc.constant('mark' as const), delivered: fc.nat(9), seen: fc.nat(9) }),
  fc.record({ type: fc.constant('mark' as const), seen: fc.nat(9), hidden: fc.constant(true as const) }),
  fc.record({ type: fc.constant('addParticipant' as const), userId: somebody, role: fc.constantFrom('owner' as const, 'member' as const, 'observer' as const) }),
  fc.record({ type: fc.constant('removeParticipant' as const), userId: somebody }),
  fc.record({ type: fc.constant('changeRoom' as const), name: fc.constantFrom('', 'm') }),
  fc.record({ type: fc.constant('changeRoom' as const), metadata: fc.constantFrom({}, { c: 'd' }) }),
  fc.record({ type: fc.constant('inviteMediator' as const), userId: fc.constantFrom(judge, user('r0')) }),
  fc.constant({ type: 'acceptInvitation' as const }),
  fc.record({ type: fc.constant('setBlock' as const), blockerId: somebody, blockedId: somebody, on: fc.boolean() }),
)
const commands = fc.tuple(aRoom, fc.oneof(fc.constant(customer), somebody), anyNr, asked).map(([roomId, senderId, nr, body]) => by(roomId, senderId, nr, body))
const moderator = user('moderator')
const moderation = fc.tuple(aMessage, anyNr, fc.nat(9), somebody).map(([message, nr, what, other]): RoomInput => {
  const { roomId } = message
  if (what < 3) return by(roomId, moderator, nr, { type: 'redactMessage', messageId: idOf(message), reason: `reason ${nr}` })
  if (what < 7) return by(roomId, other, nr, { type: 'reportMessage', messageId: idOf(message), reason: 'spam', ...(nr % 2 && { note: 'again' }) })
  // Mostly it is not, or nothing else would happen.
  return by(roomId, moderator, nr, { type: 'freezeRoom', on: what === 7 && nr % 3 === 0 })
})
const resolutions = fc.tuple(somebody, anyNr).map(([senderId, nr]) => by(room('dispute'), senderId, nr, { type: 'resolveDispute', note: 'paid' }))
/** Inputs of a few rooms after `openings`, mostly such that become events. */
export const inputs = fc.oneof(
  { weight: 10, arbitrary: orderEvents },
  { weight: 20, arbitrary: sends },
  { weight: 30, arbitrary: changes },
  { weight: 40, arbitrary: commands },
  { weight: 5, arbitrary: moderation },
  { weight: 1, arbitrary: resolutions },
)
