import { withHeir } from './decide-membership.ts'
import { inSequence, isFullOfChanges, isText, refused, targetOf, unchanged } from './decide-parts.ts'
import type { RoomCommand } from './inputs.ts'
import { fixedLimits, type RoomLimits } from './limits.ts'
import { type Entry, reportReasons, type RoomState } from './room.ts'

type Command<T extends RoomCommand['type']> = RoomCommand & { readonly type: T }
export type ModerationCommand = Command<'redactMessage' | 'freezeRoom' | 'expelParticipant'>

const moderationTypes: ReadonlySet<string> = new Set(['redactMessage', 'freezeRoom', 'expelParticipant'] satisfies ModerationCommand['type'][])

/** That its sender is a moderator was verified by who wrote the command: such a command says so by its type. */
export const isModeration = (command: RoomCommand): command is ModerationCommand => moderationTypes.has(command.type)

const isReason = (text: string): boolean => text.length > 0 && isText(text, fixedLimits.noteCharsMax)

/** By somebody who need not be in the room. */
export function decideModeration(state: RoomState, command: ModerationCommand, timeMs: number, limits: RoomLimits): readonly Entry[] {
  const { senderId: by, clientMessageId } = command
  const asked = { by, clientMessageId }
  switch (command.type) {
    case 'redactMessage': {
      const { messageId, messageSeq, reason } = command
      if (!isReason(reason)) return refused('invalid_request')
      const target = targetOf(state, messageId, messageSeq)
      if (target === 'message_deleted') return unchanged(state)
      if (target === 'message_not_found') return refused(target)
      // Who edits until the room remembers no more shall not keep a moderator out by it.
      const forModerators = { ...limits, changedMessagesMax: 2 * limits.changedMessagesMax }
      if (!state.changes.has(messageId) && isFullOfChanges(state, timeMs, forModerators)) return refused('too_many_changes')
      return inSequence(state, timeMs, [{ type: 'messageRedacted', ...target, reason, ...asked }])
    }
    case 'freezeRoom': {
      const { on, reason } = command
      if (reason !== undefined && !isReason(reason)) return refused('invalid_request')
      if (state.status === 'closed') return refused('room_read_only')
      if (state.frozen === on) return unchanged(state)
      return inSequence(state, timeMs, [{ type: 'roomFrozen', on, ...(reason !== undefined && { reason }), ...asked }])
    }
    case 'expelParticipant': {
      const { userId, reason } = command
      if (!isReason(reason)) return refused('invalid_request')
      if (state.status === 'closed') return refused('room_read_only')
      const role = state.participants.get(userId)
      if (role === undefined) return unchanged(state)
      return inSequence(state, timeMs, withHeir(state, { type: 'participantRemoved', participant: { userId, role }, reason: 'moderated', note: reason, ...asked }))
    }
  }
}

/** For moderators to look at; the room goes on. */
export function decideReport(state: RoomState, command: Command<'reportMessage'>, timeMs: number): readonly Entry[] {
  const { senderId: by, clientMessageId, messageId, messageSeq, reason, note } = command
  if (!reportReasons.includes(reason) || (note !== undefined && !isText(note, fixedLimits.noteCharsMax))) return refused('invalid_request')
  const target = targetOf(state, messageId, messageSeq)
  if (typeof target === 'string') return refused(target)
  return inSequence(state, timeMs, [{ type: 'messageReported', ...target, reason, ...(note !== undefined && { note }), by, clientMessageId }])
}
