import type { AckFrame, RequestId } from '#libs/domain/frames.ts'
import type { ClientMessageId, MessageId } from '#libs/domain/ids.ts'
import type { OriginalAck, RoomEvent } from '#libs/domain/room.ts'
import { updateFrame } from './frames.ts'
import type { PendingCommand } from './pending-commands.ts'

/** Of the event by which the log has done what was asked; of all but a message it takes the place of the event's frame. */
export function ackOf(command: PendingCommand, id: RequestId, event: RoomEvent): string {
  if (event.type === 'messageSent') return messageAck(command, id, event)
  return text({ ...head(command, id, event), event: updateFrame(command.roomId, event) })
}

/** The original ack, told again. */
export function repeatedAckOf(command: PendingCommand, id: RequestId, ack: OriginalAck): string {
  return command.type === 'sendMessage' ? messageAck(command, id, ack, true) : text({ ...head(command, id, ack), repeated: true })
}

export function unchangedAckOf({ roomId }: Pick<PendingCommand, 'roomId'>, id: RequestId, seq: number): string {
  return text({ id, type: 'ack', roomId, unchanged: true, seq })
}

type Place = { readonly seq: number; readonly timestampMs: number }

const head = ({ roomId, clientMessageId, messageId }: PendingCommand, id: RequestId, { seq, timestampMs }: Place): AckFrame => ({
  id,
  type: 'ack',
  roomId,
  seq,
  ...(messageId !== undefined && { messageId }),
  ...(clientMessageId !== undefined && { clientMessageId }),
  timestamp: timestampMs,
})

function messageAck({ roomId, clientMessageId }: PendingCommand, id: RequestId, { messageId, seq, messageIndex, timestampMs: timestamp, replyToSeq }: Place & { messageId: MessageId; messageIndex: number; replyToSeq?: number }, repeated = false): string {
  return text({ id, type: 'ack', roomId, seq, messageId, messageIndex, clientMessageId: clientMessageId as ClientMessageId, timestamp, ...(replyToSeq !== undefined && { replyToSeq }), ...(repeated && { repeated: true }) })
}

const text = (ack: AckFrame): string => JSON.stringify(ack)
