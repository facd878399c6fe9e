/** Every bound of the room rules. What exceeds one gets the code named beside it. */
export type RoomLimits = {
  /** Unicode code points of a message: `content_too_long` above. */
  readonly contentCharsMax: number
  /** Messages per sender, room and second of event time: `rate_limited` above. */
  readonly messagesPerSecondMax: number
}

export const defaultRoomLimits: RoomLimits = { contentCharsMax: 4_000, messagesPerSecondMax: 20 }

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

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
