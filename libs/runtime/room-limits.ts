import { DEDUPE_WINDOW_MS, defaultRoomLimits, type RoomLimits } from '#libs/domain/limits.ts'
import { type Env, envInt, envList } from './env.ts'

/** The same for each service that judges what people send: room-state decides, edge and api ask before they bother the log. */
export function roomLimitsFromEnv(env: Env): RoomLimits {
  const { contentCharsMax, messagesPerSecondMax, participantsMax, editWindowMs, changedMessagesMax, attachmentsMax, attachmentBytesMax } = defaultRoomLimits
  return {
    contentCharsMax: envInt(env, 'ROOM_CONTENT_CHARS_MAX', contentCharsMax, { min: 1, max: 20_000 }),
    messagesPerSecondMax: envInt(env, 'ROOM_MESSAGES_PER_SECOND_MAX', messagesPerSecondMax, { min: 1 }),
    participantsMax: envInt(env, 'ROOM_PARTICIPANTS_MAX', participantsMax, { min: 2, max: 1_000 }),
    editWindowMs: envInt(env, 'ROOM_EDIT_WINDOW_MS', editWindowMs, { min: 0, max: DEDUPE_WINDOW_MS }),
    changedMessagesMax: envInt(env, 'ROOM_CHANGED_MESSAGES_MAX', changedMessagesMax, { min: 1, max: 10_000 }),
    attachmentsMax: envInt(env, 'ROOM_ATTACHMENTS_MAX', attachmentsMax, { min: 0, max: 100 }),
    attachmentBytesMax: envInt(env, 'ROOM_ATTACHMENT_BYTES_MAX', attachmentBytesMax, { min: 0 }),
    attachmentHosts: envList(env, 'ROOM_ATTACHMENT_HOSTS', []),
  }
}
