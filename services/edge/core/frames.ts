import { ChatError, type ErrorCode, errorCatalogue } from '#libs/domain/errors.ts'
import type { ErrorFrame, RequestId, RoomEventFrame } from '#libs/domain/frames.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { RoomEvent } from '#libs/domain/room.ts'

/** A message read from history may have lost its content to an erasure. */
export type StoredEvent = RoomEvent | (Omit<RoomEvent & { type: 'messageSent' }, 'content' | 'salt'> & { readonly content: null })

/** The one frame that every participant gets for an event. */
export function eventFrame(roomId: RoomId, event: StoredEvent): RoomEventFrame {
  const { seq, timestampMs: timestamp } = event
  switch (event.type) {
    case 'messageSent': {
      const { messageId, clientMessageId, senderId, messageIndex, content } = event
      return { type: 'newMessage', roomId, seq, messageId, clientMessageId, senderId, messageIndex, content, timestamp }
    }
    case 'roomOpened':
      return { type: 'roomUpdated', roomId, seq, timestamp, event: event.type, participants: event.participants }
    case 'participantAdded':
      return { type: 'roomUpdated', roomId, seq, timestamp, event: event.type, ...event.participant }
    case 'participantRemoved':
      return { type: 'roomUpdated', roomId, seq, timestamp, event: event.type, ...event.participant, reason: event.reason }
    case 'roomClosed':
      return { type: 'roomUpdated', roomId, seq, timestamp, event: event.type, reason: event.reason }
    default:
      return { type: 'roomUpdated', roomId, seq, timestamp, event: 'unknown' }
  }
}

export type ErrorContext = { readonly roomId?: RoomId | undefined; readonly clientMessageId?: string | undefined; readonly retryAfterMs?: number | undefined }

export function errorFrame(id: RequestId | undefined, code: ErrorCode, message: string, context: ErrorContext = {}): ErrorFrame {
  const { roomId, clientMessageId, retryAfterMs } = context
  return {
    ...(id !== undefined && { id }),
    type: 'error',
    code,
    message,
    retriable: errorCatalogue[code].retriable,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(roomId !== undefined && { roomId }),
    ...(clientMessageId !== undefined && { clientMessageId }),
  }
}

/** A stranger's text is for the log, not for the client. */
export function errorFrameOf(id: RequestId | undefined, err: unknown, context: ErrorContext = {}): ErrorFrame {
  if (!(err instanceof ChatError)) return errorFrame(id, 'internal', errorCatalogue.internal.message, context)
  return errorFrame(id, err.code, err.message, { retryAfterMs: err.retryAfterMs, ...context })
}
