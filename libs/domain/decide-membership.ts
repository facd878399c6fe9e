import { textRefusal } from './content-rules.ts'
import { entering, inSequence, isStorable, isText, mayBeStub, refused, unchanged } from './decide-parts.ts'
import type { UserId } from './ids.ts'
import type { RoomCommand } from './inputs.ts'
import { fixedLimits, type RoomLimits } from './limits.ts'
import type { Entry, Metadata, Participant, Role, RoomEventBody, RoomState } from './room.ts'

type Command<T extends RoomCommand['type']> = RoomCommand & { readonly type: T }
export type MembershipCommand = Command<'addParticipant' | 'removeParticipant' | 'changeRoom' | 'inviteMediator' | 'acceptInvitation' | 'resolveDispute'>

/** Creating twice is creating once: the room's id is made from what identifies it. */
export function decideCreateRoom(state: RoomState | undefined, command: Command<'createRoom'>, timeMs: number, limits: RoomLimits): readonly Entry[] {
  const { senderId: creatorId, kind, participants, name, metadata, history, subjectId } = command
  if (state && mayBeStub(state, timeMs)) return refused('room_read_only')
  if (state && state.status !== 'pending') return state.participants.has(creatorId) ? unchanged(state) : refused('not_a_participant')
  if (state || kind === 'order') return refused('wrong_room_kind')
  if (participants.length > limits.participantsMax) return refused('too_many_participants')
  const ids = new Set(participants.map((p) => p.userId))
  if (ids.size !== participants.length || !ids.has(creatorId) || (kind === 'direct' && ids.size !== 2)) return refused('invalid_request')
  if (!isNameable(name) || !isMetadata(metadata)) return refused('invalid_request')
  const code = textRefusal(name ? [name] : [], limits.content)
  if (code) return refused(code)
  return inSequence(state, timeMs, [
    {
      type: 'roomOpened',
      kind,
      creatorId,
      participants,
      ...(name && { name }),
      ...(metadata && Object.keys(metadata).length > 0 && { metadata }),
      ...(history === 'fromJoin' && { history }),
      ...(subjectId !== undefined && { subjectId }),
    },
  ])
}

export function decideMembership(state: RoomState, command: MembershipCommand, timeMs: number, limits: RoomLimits): readonly Entry[] {
  const then = (...bodies: RoomEventBody[]) => inSequence(state, timeMs, bodies)
  switch (command.type) {
    case 'addParticipant':
      return decideAdd(state, command, limits) ?? then({ type: 'participantAdded', participant: { userId: command.userId, role: command.role }, ...entering(state, command.userId), ...asked(command) })
    case 'removeParticipant':
      return decideRemove(state, command, then)
    case 'changeRoom':
      return decideChangeRoom(state, command, limits, then)
    case 'inviteMediator':
      return decideInvite(state, command, then)
    case 'acceptInvitation':
      return decideAccept(state, command, limits, then)
    case 'resolveDispute':
      return decideResolve(state, command, then)
  }
}

type Then = (...bodies: RoomEventBody[]) => readonly Entry[]

const asked = ({ senderId: by, clientMessageId }: MembershipCommand) => ({ by, clientMessageId })

const roleOf = (state: RoomState, { senderId }: MembershipCommand): Role | undefined => state.participants.get(senderId)

/** Undefined: he may be added. */
function decideAdd(state: RoomState, command: Command<'addParticipant'>, limits: RoomLimits): readonly Entry[] | undefined {
  if (state.kind !== 'group') return refused('wrong_room_kind')
  if (roleOf(state, command) !== 'owner') return refused('not_allowed')
  if (!['owner', 'member', 'observer'].includes(command.role)) return refused('invalid_request')
  if (state.participants.get(command.userId) === command.role) return unchanged(state)
  // The last owner stays one, or nobody could let anybody in any more.
  if (command.userId === command.senderId && ownersOf(state).length === 1) return refused('not_allowed')
  if (!state.participants.has(command.userId) && state.participants.size >= limits.participantsMax) return refused('too_many_participants')
  return undefined
}

const ownersOf = (state: RoomState): UserId[] => [...state.participants].flatMap(([userId, role]) => (role === 'owner' ? [userId] : []))

function decideRemove(state: RoomState, command: Command<'removeParticipant'>, then: Then): readonly Entry[] {
  const { senderId, userId } = command
  const role = state.participants.get(userId)
  const isLeaving = senderId === userId
  const mayLeave = state.kind === 'group' || (state.kind === 'dispute' && role === 'mediator')
  if (state.kind !== 'group' && !(isLeaving && mayLeave)) return refused('wrong_room_kind')
  if (!isLeaving && roleOf(state, command) !== 'owner') return refused('not_allowed')
  if (role === undefined) return unchanged(state)
  const removed: RoomEventBody & { readonly type: 'participantRemoved' } = { type: 'participantRemoved', participant: { userId, role }, reason: isLeaving ? 'left' : 'removed', ...asked(command) }
  return then(...withHeir(state, removed))
}

/** Where the last owner of a group goes, another comes before, so that it is never without one; his own event carries the ack. */
export function withHeir(state: RoomState, removed: RoomEventBody & { readonly type: 'participantRemoved' }): readonly RoomEventBody[] {
  const { userId, role } = removed.participant
  const heir = state.kind === 'group' && role === 'owner' && ownersOf(state).length === 1 ? heirOf(state, userId) : undefined
  return heir === undefined ? [removed] : [{ type: 'participantAdded', participant: { userId: heir, role: 'owner' } }, removed]
}

/** Who has been there longest, members before observers. */
function heirOf(state: RoomState, owner: UserId): UserId | undefined {
  const others = [...state.participants].filter(([userId]) => userId !== owner)
  return (others.find(([, role]) => role === 'member') ?? others[0])?.[0]
}

function decideChangeRoom(state: RoomState, command: Command<'changeRoom'>, limits: RoomLimits, then: Then): readonly Entry[] {
  const { name, metadata } = command
  if (state.kind !== 'group') return refused('wrong_room_kind')
  if (roleOf(state, command) !== 'owner') return refused('not_allowed')
  if (!isNameable(name) || !isMetadata(metadata)) return refused('invalid_request')
  const isSame = (name === undefined || name === (state.name ?? '')) && (metadata === undefined || isSameMetadata(metadata, state.metadata))
  if (isSame) return unchanged(state)
  const code = textRefusal(name ? [name] : [], limits.content)
  if (code) return refused(code)
  return then({ type: 'roomChanged', ...(name !== undefined && { name }), ...(metadata && { metadata }), ...asked(command) })
}

function decideInvite(state: RoomState, command: Command<'inviteMediator'>, then: Then): readonly Entry[] {
  const { userId } = command
  if (state.kind !== 'dispute') return refused('wrong_room_kind')
  if (roleOf(state, command) === 'mediator') return refused('not_allowed')
  if (state.invited.has(userId) || state.participants.get(userId) === 'mediator') return unchanged(state)
  if (state.participants.has(userId)) return refused('invalid_request')
  if (state.invited.size >= fixedLimits.invitedMax) return refused('too_many_participants')
  return then({ type: 'mediatorInvited', userId, ...asked(command) })
}

function decideAccept(state: RoomState, command: Command<'acceptInvitation'>, limits: RoomLimits, then: Then): readonly Entry[] {
  const { senderId: userId } = command
  if (state.participants.has(userId)) return unchanged(state)
  if (!state.invited.has(userId)) return refused('not_invited')
  if (state.participants.size >= limits.participantsMax) return refused('too_many_participants')
  return then({ type: 'participantAdded', participant: { userId, role: 'mediator' }, ...entering(state, userId), ...asked(command) })
}

/** Takes the mediators out and closes; without a mediator any side may. */
function decideResolve(state: RoomState, command: Command<'resolveDispute'>, then: Then): readonly Entry[] {
  if (state.kind !== 'dispute') return refused('wrong_room_kind')
  const mediators = [...state.participants].filter(([, role]) => role === 'mediator')
  if (mediators.length > 0 && roleOf(state, command) !== 'mediator') return refused('not_allowed')
  const { note } = command
  if (note !== undefined && !isText(note, fixedLimits.noteCharsMax)) return refused('invalid_request')
  const removed = mediators.map(([userId, role]): RoomEventBody => ({ type: 'participantRemoved', participant: { userId, role } satisfies Participant, reason: 'resolved' }))
  return then(...removed, { type: 'roomClosed', reason: 'resolved', ...(note !== undefined && { note }), ...asked(command) })
}

const isNameable = (name: string | undefined): boolean => name === undefined || isText(name, fixedLimits.nameCharsMax)

function isMetadata(metadata: Metadata | undefined): boolean {
  const { metadataEntriesMax, metadataKeyCharsMax, metadataValueCharsMax } = fixedLimits
  const entries = Object.entries(metadata ?? {})
  return entries.length <= metadataEntriesMax && entries.every(([key, value]) => key.length > 0 && key.length <= metadataKeyCharsMax && value.length <= metadataValueCharsMax && isStorable(key) && isStorable(value))
}

function isSameMetadata(a: Metadata, b: Metadata): boolean {
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key])
}
