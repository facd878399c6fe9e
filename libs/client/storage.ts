import type { ClientMessageId } from '#libs/domain/ids.ts'
import type { InboxSnapshot } from './core/inbox-state.ts'
import type { InboxStorage, OutboxEntry, OutboxStorage } from './ports.ts'

/** Keeps the outbox as long as the object lives. */
export class MemoryOutboxStorage implements OutboxStorage {
  readonly entries = new Map<ClientMessageId, OutboxEntry>()

  async load(): Promise<OutboxEntry[]> {
    return [...this.entries.values()]
  }

  async put(entry: OutboxEntry): Promise<void> {
    this.entries.set(entry.clientMessageId, entry)
  }

  async delete(clientMessageId: ClientMessageId): Promise<void> {
    this.entries.delete(clientMessageId)
  }
}

/** The part of the Web's `Storage` (`localStorage`) that is used. */
export type WebStorageLike = {
  readonly length: number
  key(index: number): string | null
  getItem(key: string): string | null
  setItem(key: string, value: string): void
  removeItem(key: string): void
}

/**
 * Keeps the outbox in `localStorage` or its like, one item a message under `prefix`. Give each user a prefix of his own.
 * An item that cannot be read is left where it is and told to `onCorrupt`.
 */
export class WebOutboxStorage implements OutboxStorage {
  readonly #storage: WebStorageLike
  readonly #prefix: string
  readonly #onCorrupt: (key: string) => void

  constructor(storage: WebStorageLike, options: { readonly prefix: string; readonly onCorrupt?: (key: string) => void }) {
    this.#storage = storage
    this.#prefix = options.prefix
    this.#onCorrupt = options.onCorrupt ?? (() => {})
  }

  async load(): Promise<OutboxEntry[]> {
    const keys = Array.from({ length: this.#storage.length }, (_, i) => this.#storage.key(i)).filter((key) => key?.startsWith(this.#prefix))
    return keys.flatMap((key) => {
      const entry = parseEntry(this.#storage.getItem(key!))
      if (!entry) this.#onCorrupt(key!)
      return entry ?? []
    })
  }

  async put(entry: OutboxEntry): Promise<void> {
    this.#storage.setItem(this.#prefix + entry.clientMessageId, JSON.stringify(entry))
  }

  async delete(clientMessageId: ClientMessageId): Promise<void> {
    this.#storage.removeItem(this.#prefix + clientMessageId)
  }
}

/** Keeps the list of chats in `localStorage` or its like, under one key: give each user his own. What cannot be read is as if it were not there. */
export class WebInboxStorage implements InboxStorage {
  readonly #storage: Pick<WebStorageLike, 'getItem' | 'setItem'>
  readonly #key: string

  constructor(storage: Pick<WebStorageLike, 'getItem' | 'setItem'>, options: { readonly key: string }) {
    this.#storage = storage
    this.#key = options.key
  }

  async load(): Promise<InboxSnapshot | undefined> {
    try {
      const value: unknown = JSON.parse(this.#storage.getItem(this.#key) ?? 'null')
      return isInboxSnapshot(value) ? value : undefined
    } catch {
      return undefined
    }
  }

  async save(snapshot: InboxSnapshot): Promise<void> {
    this.#storage.setItem(this.#key, JSON.stringify(snapshot))
  }
}

function isInboxSnapshot(value: unknown): value is InboxSnapshot {
  if (typeof value !== 'object' || value === null) return false
  const { cursor, chats, totals } = value as Record<string, unknown>
  return Number.isSafeInteger(cursor) && (cursor as number) >= 0 && Array.isArray(chats) && typeof totals === 'object' && totals !== null
}

export function isOutboxEntry(value: unknown): value is OutboxEntry {
  if (typeof value !== 'object' || value === null) return false
  const { clientMessageId, roomId, content, extras, position } = value as Record<string, unknown>
  const hasExtras = extras === undefined || (typeof extras === 'object' && extras !== null)
  return typeof clientMessageId === 'string' && typeof roomId === 'string' && typeof content === 'string' && hasExtras && Number.isFinite(position)
}

function parseEntry(text: string | null): OutboxEntry | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '')
    return isOutboxEntry(value) ? value : undefined
  } catch {
    return undefined
  }
}
