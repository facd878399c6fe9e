import { contentRefusal, floodWaitMs, textRefusal } from './content-rules.ts'
import { contentHashOf, decideBlock, ignored, inSequence, isFullOfChanges, isStorable, mayBeStub, refused, targetOf, toSecond, unchanged } from './decide-parts.ts'
import { decideCreateRoom, decideMembership, type MembershipCommand } from './decide-membership.ts'
import { decideModeration, decideReport, isModeration, type ModerationCommand } from './decide-moderation.ts'
import { rememberedAck, rememberedMessage } from './dedupe.ts'
import { clientMessageIdTimeMs, messageIdOf } from './ids.ts'
import type { RoomCommand } from './inputs.ts'
import { CLIENT_CLOCK_AHEAD_MS, DEDUPE_WINDOW_MS, fixedLimits, type RoomLimits } from './limits.ts'
import { payloadProblem } from './payload.ts'
import { type Entry, isBlocked, type RoomState } from './room.ts'

type Command<T extends RoomCommand['type']> = RoomCommand & { readonly type: T }

/** What a participant asked for. `state` undefined or pending: nobody can see such a room. */
export function decideCommand(state: RoomState | undefined, command: RoomCommand, timeMs: number, limits: RoomLimits): readonly Entry[] {
  if (command.type === 'createRoom') return decideCreateRoom(state, command, timeMs, limits)
  if (command.type === 'setBlock') return decideSetBlock(state, command, timeMs)
  if (!state || state.status === 'pending') return refused('room_not_found')
  if (command.type === 'mark') return decideMark(state, command, timeMs)
  const { senderId, clientMessageId } = command
  const idTimeMs = clientMessageIdTimeMs(clientMessageId)
  if (idTimeMs < timeMs - DEDUPE_WINDOW_MS || idTimeMs > timeMs + CLIENT_CLOCK_AHEAD_MS) return refused('client_message_id_expired')
  // Before any other rule: what was accepted once stays accepted, also for who has left and in a room that has closed.
  const ack = rememberedAck(state.dedupe, senderId, clientMessageId)
  if (ack) return [{ type: 'repeated', clientMessageId, ack }]
  if (isModeration(command)) return decideModeration(state, command, timeMs, limits)
  if (state.status === 'closed') return refused('room_read_only')
  const role = state.participants.get(senderId)
  if (role === undefined && command.type !== 'acceptInvitation') return refused('not_a_participant')
  if (role === 'observer' && command.type !== 'removeParticipant' && command.type !== 'reportMessage') return refused('not_allowed')
  if (state.frozen && !isAllowedInFrozen(command)) return refused('room_frozen')
  const decided = decideAllowed(state, command, timeMs, limits)
  // A refusal or an answer costs nothing; what would become an event counts.
  return decided.some((entry) => 'seq' in entry) ? (rateRefusal(state, command, timeMs, limits) ?? decided) : decided
}

/** Whoever is in a frozen room may go, and may complain. */
const isAllowedInFrozen = (command: RoomCommand): boolean =>
  command.type === 'reportMessage' || (command.type === 'removeParticipant' && command.userId === command.senderId)

function rateRefusal(state: RoomState, { senderId }: RoomCommand, timeMs: number, limits: RoomLimits): readonly Entry[] | undefined {
  const { second, counts } = state.sendRate
  if (second !== toSecond(timeMs) || (counts.get(senderId) ?? 0) < limits.messagesPerSecondMax) return undefined
  return [{ type: 'refused', code: 'rate_limited', retryAfterMs: 1_000 - (timeMs % 1_000) }]
}

function decideAllowed(state: RoomState, command: Exclude<RoomCommand, ModerationCommand | { type: 'createRoom' | 'setBlock' | 'mark' }>, timeMs: number, limits: RoomLimits): readonly Entry[] {
  switch (command.type) {
    case 'sendMessage':
      return decideSend(state, command, timeMs, limits)
    case 'editMessage':
    case 'deleteMessage':
      return decideChange(state, command, timeMs, limits)
    case 'react':
      return decideReact(state, command, timeMs, limits)
    case 'reportMessage':
      return decideReport(state, command, timeMs)
    default:
      return decideMembership(state, command satisfies MembershipCommand, timeMs, limits)
  }
}

function decideSend(state: RoomState, command: Command<'sendMessage'>, timeMs: number, limits: RoomLimits): readonly Entry[] {
  const { senderId, clientMessageId, content, salt, messageType, payload, replyTo, mentions } = command
  const code = contentRefusal(content, limits, payload)
  if (code) return refused(code)
  if (messageType === 'system') return refused('not_allowed')
  if (payloadProblem(state.roomId, messageType, payload, limits)) return refused('invalid_attachment')
  if ((mentions?.length ?? 0) > fixedLimits.mentionsMax) return refused('invalid_request')
  if (isMuted(state)) return refused('message_not_allowed')
  const thread = replyTo === undefined ? undefined : targetOf(state, replyTo, command.replyToSeq)
  if (typeof thread === 'string') return refused(thread)
  const waitMs = floodWaitMs(state, senderId, content, payload, timeMs, limits.content)
  if (waitMs !== undefined) return [{ type: 'refused', code: 'duplicate_flood', retryAfterMs: waitMs }]
  const hiddenFor = state.blocks.size === 0 ? [] : [...state.participants.keys()].filter((userId) => isBlocked(state.blocks, senderId, userId))
  return inSequence(state, timeMs, [
    {
      type: 'messageSent',
      messageId: messageIdOf(state.roomId, senderId, clientMessageId),
      clientMessageId,
      senderId,
      messageIndex: state.messageCount + 1,
      ...(messageType !== undefined && { messageType }),
      ...(payload !== undefined && { payload }),
      ...(thread && { replyTo: thread.messageId, replyToSeq: thread.messageSeq }),
      ...(mentions && mentions.length > 0 && { mentions }),
      ...(hiddenFor.length > 0 && { hiddenFor }),
      content,
      salt,
      contentHash: contentHashOf(salt, content, payload),
    },
  ])
}

/** Of two people of whom one has blocked the other neither can write, and neither is told who it was. */
const isMuted = (state: RoomState): boolean => state.kind === 'direct' && state.blocks.size > 0

function decideChange(state: RoomState, command: Command<'editMessage' | 'deleteMessage'>, timeMs: number, limits: RoomLimits): readonly Entry[] {
  const { senderId: by, clientMessageId, messageId } = command
  const sent = rememberedMessage(state.dedupe, state.roomId, messageId)
  if (!sent) return refused('message_not_found')
  if (sent.senderId !== by) return refused('not_allowed')
  const change = state.changes.get(messageId)
  if (change?.deleted) return command.type === 'deleteMessage' ? unchanged(state) : refused('message_deleted')
  if (timeMs - sent.ack.timestampMs > limits.editWindowMs) return refused('edit_window_over')
  if (!change && isFullOfChanges(state, timeMs, limits)) return refused('too_many_changes')
  const target = { messageId, messageSeq: sent.ack.seq }
  if (command.type === 'deleteMessage') return inSequence(state, timeMs, [{ type: 'messageDeleted', ...target, by, clientMessageId }])
  const { content, salt } = command
  const code = contentRefusal(content, limits)
  if (code) return refused(code)
  if (isMuted(state)) return refused('message_not_allowed')
  const revision = (change?.revision ?? 0) + 1
  return inSequence(state, timeMs, [{ type: 'messageEdited', ...target, revision, by, clientMessageId, content, salt, contentHash: contentHashOf(salt, content) }])
}

function decideReact(state: RoomState, command: Command<'react'>, timeMs: number, limits: RoomLimits): readonly Entry[] {
  const { senderId: by, clientMessageId, messageId, messageSeq, emoji, on } = command
  if (!isEmoji(emoji)) return refused('invalid_request')
  const code = on ? textRefusal([emoji], limits.content) : undefined
  if (code) return refused(code)
  if (isMuted(state)) return refused('message_not_allowed')
  const target = targetOf(state, messageId, messageSeq)
  if (typeof target === 'string') return refused(target)
  return inSequence(state, timeMs, [{ type: 'reactionSet', ...target, emoji, on, by, clientMessageId }])
}

/** One word without spaces: an emoji with its modifiers, or a short name like `:ship:`. */
export const isEmoji = (text: string): boolean => text.length > 0 && text.length <= fixedLimits.emojiCharsMax && isStorable(text) && !/[\s\p{Cc}]/u.test(text)

/** Cursors go up, never down, and never beyond the last message. Also in a room that has closed. */
function decideMark(state: RoomState, command: Command<'mark'>, timeMs: number): readonly Entry[] {
  const { senderId: userId } = command
  if (mayBeStub(state, timeMs)) return refused('room_read_only')
  if (!state.participants.has(userId)) return refused('not_a_participant')
  const before = state.receipts.get(userId) ?? { delivered: 0, seen: 0, hidden: false }
  const seen = Math.min(state.messageCount, Math.max(before.seen, command.seen ?? 0))
  const delivered = Math.min(state.messageCount, Math.max(before.delivered, command.delivered ?? 0, seen))
  if (seen === before.seen && delivered === before.delivered) return unchanged(state)
  return inSequence(state, timeMs, [{ type: 'receiptMoved', userId, delivered, seen, ...(command.hidden && { hidden: true }) }])
}

function decideSetBlock(state: RoomState | undefined, command: Command<'setBlock'>, timeMs: number): readonly Entry[] {
  if (command.blockerId === command.blockedId) return ignored('nobody blocks himself')
  return state?.status === 'open' ? decideBlock(state, timeMs, command) : ignored('the room is not open')
}

