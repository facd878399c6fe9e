import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { EdgeClock, History, UserSettings } from './ports.ts'

/** Longer than Postgres takes when it is well; a socket's requests wait behind it. */
const WAIT_MS = 1_000
/** After a failure nobody waits for the next one. */
const PAUSE_MS = 2_000
const SETTINGS_KEPT_MS = 30_000
const USERS_MAX = 10_000

/** What is shown of somebody of whom it cannot be read what he wants shown. */
const MORE_PRIVATE: UserSettings = { hideReceipts: true, hideLastSeen: true }

export type LookupsOptions = {
  readonly history: Pick<History, 'messageSeq' | 'settings' | 'hasConversationsMax'>
  readonly clock: EdgeClock
  readonly onTrouble: (err: unknown) => void
}

/** What requests want to know of the history but can go without, so that they work while it cannot be read. Nothing here rejects. */
export class Lookups {
  readonly #options: LookupsOptions
  readonly #settings = new Map<UserId, { readonly untilMs: number; readonly value: Promise<UserSettings> }>()
  #pausedUntilMs = 0

  constructor(options: LookupsOptions) {
    this.#options = options
  }

  /** Undefined where the history has no such message, and where it cannot be asked. */
  messageSeq(roomId: RoomId, messageId: MessageId): Promise<number | undefined> {
    return this.#ask(() => this.#options.history.messageSeq(roomId, messageId), undefined)
  }

  /** False where it cannot be asked. */
  hasConversationsMax(userId: UserId, roomId: RoomId): Promise<boolean> {
    return this.#ask(() => this.#options.history.hasConversationsMax(userId, roomId), false)
  }

  /** At most 30 s old. */
  settings(userId: UserId): Promise<UserSettings> {
    const nowMs = this.#options.clock.nowMs()
    const known = this.#settings.get(userId)
    if (known && known.untilMs > nowMs) return known.value
    // What could not be read is asked for again at the next occasion.
    const value = this.#ask(() => this.#options.history.settings(userId), MORE_PRIVATE).then((settings) => {
      if (settings === MORE_PRIVATE && this.#settings.get(userId)?.value === value) this.#settings.delete(userId)
      return settings
    })
    this.#settings.delete(userId)
    this.#settings.set(userId, { untilMs: nowMs + SETTINGS_KEPT_MS, value })
    for (const oldest of this.#settings.keys()) {
      if (this.#settings.size <= USERS_MAX) break
      this.#settings.delete(oldest)
    }
    return value
  }

  async #ask<T>(question: () => Promise<T>, otherwise: T): Promise<T> {
    const { clock, onTrouble } = this.#options
    if (clock.nowMs() < this.#pausedUntilMs) return otherwise
    const waiting = new AbortController()
    const tooLate = clock.sleep(WAIT_MS, waiting.signal).then(
      () => this.#pause(otherwise),
      () => otherwise,
    )
    const answer = question().catch((err: unknown) => {
      onTrouble(err)
      return this.#pause(otherwise)
    })
    try {
      return await Promise.race([answer, tooLate])
    } finally {
      waiting.abort()
    }
  }

  #pause<T>(otherwise: T): T {
    this.#pausedUntilMs = this.#options.clock.nowMs() + PAUSE_MS
    return otherwise
  }
}
