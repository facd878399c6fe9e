/** Every bound of the room rules. What exceeds one gets the code named beside it. */
export type RoomLimits = {
  /** Unicode code points of a message: `content_too_long` above. */
  readonly contentCharsMax: number
  /** Messages (and edits, reactions, …) per sender, room and second of event time: `rate_limited` above. */
  readonly messagesPerSecondMax: number
  /** People in a room: `too_many_participants` above. */
  readonly participantsMax: number
  /** How long the sender may edit or delete a message, at most `DEDUPE_WINDOW_MS`: `edit_window_over` after. */
  readonly editWindowMs: number
  /** Edited and deleted messages that a room remembers at once: `too_many_changes` above. */
  readonly changedMessagesMax: number
  /** Of one message: `invalid_attachment` above. */
  readonly attachmentsMax: number
  /** Of one file: `invalid_attachment` above. */
  readonly attachmentBytesMax: number
  /** Hosts that attachments may be linked from, and uploads are served from: `invalid_attachment` for others. */
  readonly attachmentHosts: readonly string[]
  readonly content: ContentRules
}

/** What may be said, judged by the log before anybody sees it. Pure: the same for the same text. */
export type ContentRules = {
  /** Words or phrases, found in any spelling of them (content-rules.ts): `content_not_allowed`. */
  readonly bannedWords: readonly string[]
  /** Links in texts: `link_not_allowed` unless all are to these hosts or below them. Undefined: any are allowed. */
  readonly linkHosts: readonly string[] | undefined
  /** The same text of one sender in one room, in a row and within the window: `duplicate_flood` above. A window of 0: never. */
  readonly duplicatesMax: number
  readonly duplicatesWindowMs: number
}

const MINUTE_MS = 60_000
/** What `duplicatesMax` and `duplicatesWindowMs` may be at most: a room remembers no more. */
export const DUPLICATES_MAX_MAX = 20
export const DUPLICATES_WINDOW_MAX_MS = 60 * MINUTE_MS
const DAY_MS = 24 * 60 * MINUTE_MS

export const defaultRoomLimits: RoomLimits = {
  contentCharsMax: 4_000,
  messagesPerSecondMax: 20,
  participantsMax: 1_000,
  editWindowMs: DAY_MS,
  changedMessagesMax: 1_000,
  attachmentsMax: 10,
  attachmentBytesMax: 25 * 1024 * 1024,
  attachmentHosts: [],
  content: { bannedWords: [], linkHosts: undefined, duplicatesMax: 5, duplicatesWindowMs: MINUTE_MS },
}

/** What is the same in every deployment; the code of what exceeds it in brackets. */
export const fixedLimits = {
  /** Of a room's name, in code points (`invalid_request`). */
  nameCharsMax: 100,
  /** Entries of a room's metadata, and of a key and a value in UTF-16 units (`invalid_request`). */
  metadataEntriesMax: 20,
  metadataKeyCharsMax: 64,
  metadataValueCharsMax: 512,
  /** People whom one message mentions (`invalid_request`). */
  mentionsMax: 50,
  /** Of an emoji, in UTF-16 units (`invalid_request`). */
  emojiCharsMax: 32,
  /** Of a message's payload as JSON, in UTF-16 units (`invalid_attachment`). */
  payloadCharsMax: 16_384,
  /** Mediators invited to one dispute (`too_many_participants`). */
  invitedMax: 10,
  /** Of what was said when a dispute was resolved, of a report's note and of a moderator's reason, in code points (`invalid_request`). */
  noteCharsMax: 1_000,
} as const

/** How long a clientMessageId is remembered, by the time that it carries. */
export const DEDUPE_WINDOW_MS = 7 * DAY_MS
/** How far a clientMessageId's time may be ahead of the event time. */
export const CLIENT_CLOCK_AHEAD_MS = 5 * MINUTE_MS
/** How long an order event that came before its room's opening is held. */
export const HOLD_WINDOW_MS = 7 * DAY_MS
/** The bridge dead-letters order events older than this (`event_too_old`), so none can reopen a forgotten room. */
export const ORDER_EVENT_AGE_MAX_MS = 28 * DAY_MS
/** How long a closed or never opened room stays in memory and in snapshots: longer than any order event lives. */
export const STUB_KEPT_MS = 30 * DAY_MS
