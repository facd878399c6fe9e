import type { ClientMessageId, RoomId } from '#libs/domain/ids.ts'
import { retryDelayMs } from './backoff.ts'

/** A message, or another request that becomes an event (core/operations.ts). */
export type Queued = { readonly clientMessageId: ClientMessageId; readonly roomId: RoomId }

/**
 * What waits to be sent, per room in the order of sending. Pure.
 *
 * Invariants (held by outbox.test.ts): at most one entry of a room is on its way, and it is the room's first, so that
 * order is kept across retries; an entry never changes its clientMessageId; it goes only by `removed`, which the caller
 * does for an ack or a refusal for good.
 */
export type Outbox<E extends Queued> = {
  readonly queues: ReadonlyMap<RoomId, readonly OutboxItem<E>[]>
  readonly size: number
}

export type OutboxItem<E extends Queued> = {
  readonly entry: E
  /** False until the storage has it: it is not sent before, so that what was sent is known after a restart. */
  readonly stored: boolean
  readonly inFlight: boolean
  /** Refusals in a row. */
  readonly refusals: number
  /** By the monotonic clock. */
  readonly notBeforeMs: number
}

export type Refusal = { readonly retriable: boolean; readonly retryAfterMs?: number | undefined }

export const emptyOutbox: Outbox<never> = { queues: new Map(), size: 0 }

export function enqueued<E extends Queued>(outbox: Outbox<E>, entry: E, stored: boolean): Outbox<E> {
  const queue = outbox.queues.get(entry.roomId) ?? []
  return withQueue(outbox, entry.roomId, [...queue, { entry, stored, inFlight: false, refusals: 0, notBeforeMs: 0 }])
}

export const findItem = <E extends Queued>(outbox: Outbox<E>, roomId: RoomId, id: ClientMessageId): OutboxItem<E> | undefined =>
  outbox.queues.get(roomId)?.find((item) => item.entry.clientMessageId === id)

/** What to do about a room that is live: send its first entry, ask again in a while, or nothing. */
export function nextOf<E extends Queued>(outbox: Outbox<E>, roomId: RoomId, nowMs: number): { readonly send: E } | { readonly waitMs: number } | undefined {
  const first = outbox.queues.get(roomId)?.[0]
  if (!first || first.inFlight || !first.stored) return undefined
  return first.notBeforeMs > nowMs ? { waitMs: first.notBeforeMs - nowMs } : { send: first.entry }
}

export const stored = <E extends Queued>(outbox: Outbox<E>, { roomId, clientMessageId }: E): Outbox<E> => changed(outbox, roomId, clientMessageId, { stored: true })

export const sent = <E extends Queued>(outbox: Outbox<E>, { roomId, clientMessageId }: E): Outbox<E> => changed(outbox, roomId, clientMessageId, { inFlight: true })

/** A refusal that may pass: the entry stays the room's first and is tried again, not before `notBeforeMs`. */
export function putOff<E extends Queued>(outbox: Outbox<E>, { roomId, clientMessageId }: E, retryAfterMs: number | undefined, nowMs: number, random: number): Outbox<E> {
  const item = findItem(outbox, roomId, clientMessageId)
  if (!item) return outbox
  const notBeforeMs = nowMs + retryDelayMs(item.refusals, random, { retryAfterMs })
  return changed(outbox, roomId, clientMessageId, { inFlight: false, refusals: item.refusals + 1, notBeforeMs })
}

/** Nothing is on its way any more; whether what was has arrived is unknown, so it will be sent again under its id. */
export function interrupted<E extends Queued>(outbox: Outbox<E>): Outbox<E> {
  const queues = new Map([...outbox.queues].map(([roomId, queue]) => [roomId, queue.map((item) => (item.inFlight ? { ...item, inFlight: false } : item))]))
  return { ...outbox, queues }
}

export function removed<E extends Queued>(outbox: Outbox<E>, roomId: RoomId, clientMessageId: ClientMessageId): Outbox<E> {
  const queue = outbox.queues.get(roomId) ?? []
  return withQueue(outbox, roomId, queue.filter((item) => item.entry.clientMessageId !== clientMessageId))
}

/** All that wait, room by room, each in the order of sending. */
export const entriesOf = <E extends Queued>(outbox: Outbox<E>, roomId?: RoomId): E[] =>
  [...outbox.queues].flatMap(([id, queue]) => (roomId === undefined || id === roomId ? queue.map((item) => item.entry) : []))

function changed<E extends Queued>(outbox: Outbox<E>, roomId: RoomId, id: ClientMessageId, change: Partial<OutboxItem<E>>): Outbox<E> {
  const queue = outbox.queues.get(roomId) ?? []
  return withQueue(outbox, roomId, queue.map((item) => (item.entry.clientMessageId === id ? { ...item, ...change } : item)))
}

function withQueue<E extends Queued>(outbox: Outbox<E>, roomId: RoomId, queue: readonly OutboxItem<E>[]): Outbox<E> {
  const before = outbox.queues.get(roomId)?.length ?? 0
  const queues = new Map(outbox.queues)
  if (queue.length > 0) queues.set(roomId, queue)
  else queues.delete(roomId)
  return { queues, size: outbox.size - before + queue.length }
}
