import { wordKey } from '#libs/domain/content-words.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { type ContentRules, DEDUPE_WINDOW_MS, defaultRoomLimits, DUPLICATES_MAX_MAX, DUPLICATES_WINDOW_MAX_MS, type RoomLimits } from '#libs/domain/limits.ts'
import { type Env, envInt, envList, envOptional } from './env.ts'

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
    content: contentRulesFromEnv(env),
  }
}

function contentRulesFromEnv(env: Env): ContentRules {
  const { duplicatesMax, duplicatesWindowMs } = defaultRoomLimits.content
  return {
    bannedWords: bannedWordsFromEnv(env),
    linkHosts: linkHostsFromEnv(env),
    duplicatesMax: envInt(env, 'ROOM_DUPLICATES_MAX', duplicatesMax, { min: 1, max: DUPLICATES_MAX_MAX }),
    duplicatesWindowMs: envInt(env, 'ROOM_DUPLICATES_WINDOW_MS', duplicatesWindowMs, { min: 0, max: DUPLICATES_WINDOW_MAX_MS }),
  }
}

/** Not given: any link may be sent. `none`: no link at all. */
function linkHostsFromEnv(env: Env): readonly string[] | undefined {
  const text = envOptional(env, 'ROOM_LINK_HOSTS')
  if (text === undefined) return undefined
  return text === 'none' ? [] : envList(env, 'ROOM_LINK_HOSTS')
}

function bannedWordsFromEnv(env: Env): readonly string[] {
  const words = envList(env, 'ROOM_BANNED_WORDS', [])
  const empty = words.find((word) => wordKey(word) === '')
  if (empty !== undefined) throw new ChatError('config_invalid', `ROOM_BANNED_WORDS: "${empty}" has neither letters nor digits`)
  return words
}

/** Conversations (direct and group) that a user has made and is in: `too_many_rooms` above. Edge and api ask Postgres before they create one. */
export const conversationsPerUserMaxFromEnv = (env: Env): number => envInt(env, 'ROOM_CONVERSATIONS_PER_USER_MAX', 5_000, { min: 1 })
