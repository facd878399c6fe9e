import type { ClientMessageId, RoomId } from '#libs/domain/ids.ts'
import type { OutboxEntry } from '../ports.ts'
import { retryDelayMs } from './backoff.ts'

/**
 * Messages that wait to be sent, per room in the order of sending. Pure.
 *
 * Invariants (held by outbox.test.ts): at most one message of a room is on its way, and it is the room's first, so that
 * order is kept across retries; an entry never changes its clientMessageId; it goes only by `removed`, which the caller
 * does for an ack or a refusal for good.
 */
export type Outbox = {
  readonly queues: ReadonlyMap<RoomId, readonly OutboxItem[]>
  readonly size: number
}

export type OutboxItem = {
  readonly entry: OutboxEntry
  /** False until the storage has it: it is not sent before, so that what was sent is known after a restart. */
  readonly stored: boolean
  readonly inFlight: boolean
  /** Refusals in a row. */
  readonly refusals: number
  /** By the monotonic clock. */
  readonly notBeforeMs: number
}

export type Refusal = { readonly retriable: boolean; readonly retryAfterMs?: number | undefined }

export const emptyOutbox: Outbox = { queues: new Map(), size: 0 }

export function enqueued(outbox: Outbox, entry: OutboxEntry, stored: boolean): Outbox {
  const queue = outbox.queues.get(entry.roomId) ?? []
  return withQueue(outbox, entry.roomId, [...queue, { entry, stored, inFlight: false, refusals: 0, notBeforeMs: 0 }])
}

export const findItem = (outbox: Outbox, roomId: RoomId, id: ClientMessageId): OutboxItem | undefined =>
  outbox.queues.get(roomId)?.find((item) => item.entry.clientMessageId === id)

/** What to do about a room that is live: send its first message, ask again in a while, or nothing. */
export function nextOf(outbox: Outbox, roomId: RoomId, nowMs: number): { readonly send: OutboxEntry } | { readonly waitMs: number } | undefined {
  const first = outbox.queues.get(roomId)?.[0]
  if (!first || first.inFlight || !first.stored) return undefined
  return first.notBeforeMs > nowMs ? { waitMs: first.notBeforeMs - nowMs } : { send: first.entry }
}

export const stored = (outbox: Outbox, { roomId, clientMessageId }: OutboxEntry): Outbox => changed(outbox, roomId, clientMessageId, { stored: true })

export const sent = (outbox: Outbox, { roomId, clientMessageId }: OutboxEntry): Outbox => changed(outbox, roomId, clientMessageId, { inFlight: true })

/** A refusal that may pass: the message stays the room's first and is tried again, not before `notBeforeMs`. */
export function putOff(outbox: Outbox, { roomId, clientMessageId }: OutboxEntry, retryAfterMs: number | undefined, nowMs: number, random: number): Outbox {
  const item = findItem(outbox, roomId, clientMessageId)
  if (!item) return outbox
  const notBeforeMs = nowMs + retryDelayMs(item.refusals, random, { retryAfterMs })
  return changed(outbox, roomId, clientMessageId, { inFlight: false, refusals: item.refusals + 1, notBeforeMs })
}

/** Nothing is on its way any more; whether what was has arrived is unknown, so it will be sent again under its id. */
export function interrupted(outbox: Outbox): Outbox {
  const queues = new Map([...outbox.queues].map(([roomId, queue]) => [roomId, queue.map((item) => (item.inFlight ? { ...item, inFlight: false } : item))]))
  return { ...outbox, queues }
}

export function removed(outbox: Outbox, roomId: RoomId, clientMessageId: ClientMessageId): Outbox {
  const queue = outbox.queues.get(roomId) ?? []
  return withQueue(outbox, roomId, queue.filter((item) => item.entry.clientMessageId !== clientMessageId))
}

/** All that wait, room by room, each in the order of sending. */
export const entriesOf = (outbox: Outbox, roomId?: RoomId): OutboxEntry[] =>
  [...outbox.queues].flatMap(([id, queue]) => (roomId === undefined || id === roomId ? queue.map((item) => item.entry) : []))

function changed(outbox: Outbox, roomId: RoomId, id: ClientMessageId, change: Partial<OutboxItem>): Outbox {
  const queue = outbox.queues.get(roomId) ?? []
  return withQueue(outbox, roomId, queue.map((item) => (item.entry.clientMessageId === id ? { ...item, ...change } : item)))
}

function withQueue(outbox: Outbox, roomId: RoomId, queue: readonly OutboxItem[]): Outbox {
  const before = outbox.queues.get(roomId)?.length ?? 0
  const queues = new Map(outbox.queues)
  if (queue.length > 0) queues.set(roomId, queue)
  else queues.delete(roomId)
  return { queues, size: outbox.size - before + queue.length }
}
