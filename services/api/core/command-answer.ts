import { ChatError } from '#libs/domain/errors.ts'
import type { MessageId, RoomId } from '#libs/domain/ids.ts'
import type { RoomCommand } from '#libs/domain/inputs.ts'
import { isRoomEvent } from '#libs/domain/room.ts'
import type { Decision } from '#libs/streams/avro-shapes.ts'

/** What became of a command, as the client is told: its place in the room, and what it made there. */
export type CommandAnswer = {
  readonly roomId: RoomId
  /** Of its event; where nothing changed, the head of the room. */
  readonly seq: number
  /** Of the message that was sent, or that it is about. */
  readonly messageId?: MessageId
  readonly messageIndex?: number
  /** Not where nothing changed: there is no event then. */
  readonly timestamp?: number
  readonly repeated?: true
  readonly unchanged?: true
}

/** @throws ChatError the log's refusal; `outcome_unknown` where it answers in words that this version does not know */
export function answerOf({ roomId, type }: Pick<RoomCommand, 'roomId' | 'type'>, { entries }: Decision): CommandAnswer {
  let answer: CommandAnswer | undefined
  for (const entry of entries) {
    // The last event is the command's own.
    if (isRoomEvent(entry)) {
      const about = 'messageId' in entry ? { messageId: entry.messageId } : {}
      answer = { roomId, seq: entry.seq, ...about, ...(entry.type === 'messageSent' && { messageIndex: entry.messageIndex }), timestamp: entry.timestampMs }
      continue
    }
    switch (entry.type) {
      case 'refused':
        throw new ChatError(entry.code, undefined, entry.retryAfterMs === undefined ? {} : { retryAfterMs: entry.retryAfterMs })
      case 'repeated': {
        const { seq, messageId, messageIndex, timestampMs: timestamp } = entry.ack
        return { roomId, seq, ...(isAboutMessage(type) && { messageId }), ...(type === 'sendMessage' && { messageIndex }), timestamp, repeated: true }
      }
      case 'unchanged':
        return { roomId, seq: entry.headSeq, unchanged: true }
    }
  }
  if (!answer) throw new ChatError('outcome_unknown')
  return answer
}

const isAboutMessage = (type: RoomCommand['type']): boolean => type === 'sendMessage' || type === 'editMessage' || type === 'deleteMessage' || type === 'react' || type === 'reportMessage' || type === 'redactMessage'

/** Something is there that was not: 201. */
export const statusOf = ({ repeated, unchanged }: CommandAnswer): 200 | 201 => (repeated || unchanged ? 200 : 201)
