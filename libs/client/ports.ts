import type { ClientMessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { KeptExtras } from './core/extras.ts'
import type { InboxSnapshot } from './core/inbox-state.ts'

/** What the client needs of the world. The defaults take the globals of browsers, React Native and Node 22. */
export type Ports = {
  readonly WebSocket: SocketConstructor
  readonly fetch: Fetch
  readonly clock: ClientClock
  /** In [0, 1): spreads retries. */
  readonly random: () => number
  /** For message ids, which must be unique, not secret. */
  readonly randomBytes: (length: number) => Uint8Array
}

/** The part of the WHATWG `WebSocket` that is used. */
export type SocketLike = {
  onopen: ((event: never) => void) | null
  onmessage: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  send(data: string): void
  close(code?: number, reason?: string): void
}
export type SocketConstructor = new (url: string, protocols: string[]) => SocketLike

/** The part of `fetch` that is used. */
export type Fetch = (url: string, init: { readonly headers: Record<string, string> }) => Promise<{ readonly status: number; text(): Promise<string> }>

export type ClientClock = {
  /** ms since 1970 */
  nowMs(): number
  /** Never runs backwards; zero is anywhere. */
  monotonicMs(): number
  setTimeout(run: () => void, delayMs: number): unknown
  clearTimeout(timer: unknown): void
}

/**
 * Asked before every connection attempt and ahead of each expiry. `expired`: the server has just refused the last token
 * as expired, so one that was kept must not be given again.
 */
export type TokenProvider = (why: { readonly expired: boolean }) => Promise<string> | string

/** A message that waits to be sent. JSON-safe; `clientMessageId` is its identity on every retry. */
export type OutboxEntry = {
  readonly clientMessageId: ClientMessageId
  readonly roomId: RoomId
  readonly content: string
  /** Left out where it has nothing but text, as in entries of earlier versions. */
  readonly extras?: KeptExtras
  /** Rises in the order of sending. */
  readonly position: number
  /** Who wrote it, where that was known then: it is never sent as anybody else. */
  readonly senderId?: UserId
}

/**
 * Where messages wait, so that they survive the app. One storage belongs to one user and to one client at a time: two
 * that share it would send everything twice (which the server answers, but order is lost). Calls never overlap.
 */
export type OutboxStorage = {
  load(): Promise<OutboxEntry[]>
  put(entry: OutboxEntry): Promise<void>
  delete(clientMessageId: ClientMessageId): Promise<void>
}

/** Where the user's own list of chats waits for the next start. One storage belongs to one user. Calls never overlap. */
export type InboxStorage = {
  load(): Promise<InboxSnapshot | undefined>
  save(snapshot: InboxSnapshot): Promise<void>
}

type Globals = {
  WebSocket?: SocketConstructor
  fetch?: Fetch
  performance?: { now(): number }
  crypto?: { getRandomValues?(bytes: Uint8Array): Uint8Array }
}

/** The longest delay that a timer can hold: beyond it every engine fires at once. */
export const TIMER_MS_MAX = 2 ** 31 - 1

const noSocket: SocketConstructor = class {
  constructor() {
    throw new Error('this platform has no WebSocket: pass one')
  }
} as never

export function defaultPorts(): Ports {
  const globals = globalThis as unknown as Globals
  return {
    WebSocket: globals.WebSocket ?? noSocket,
    fetch: (url, init) => (globals.fetch ? globals.fetch(url, init) : Promise.reject(new Error('this platform has no fetch: pass one'))),
    clock: {
      nowMs: () => Date.now(),
      monotonicMs: () => globals.performance?.now() ?? Date.now(),
      setTimeout: (run, delayMs) => setTimeout(run, delayMs),
      clearTimeout: (timer) => clearTimeout(timer as never),
    },
    random: Math.random,
    randomBytes: (length) => {
      const bytes = new Uint8Array(length)
      // React Native has no crypto of its own; ids need only be unique per sender and room.
      if (globals.crypto?.getRandomValues) return globals.crypto.getRandomValues(bytes)
      return bytes.map(() => Math.floor(Math.random() * 256))
    },
  }
}
