import { sha256 } from '@noble/hashes/sha2.js'
import { ChatError, hasCode } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { RoomKind } from '#libs/domain/room.ts'
import type { NotificationKind } from './judge.ts'

/** Names of the jobs. `closed` is made by the trigger of schemas/postgres/000005-notifications.sql. */
export const tasks = { sqs: 'sqs', webhook: 'webhook', webPush: 'webPush', deadLetter: 'deadLetter', closed: 'closed' } as const
export type Channel = 'sqs' | 'webhook' | 'webPush'

export type DeliveryJob = { readonly userId: UserId; readonly roomId: RoomId; readonly subscriptionId: string | null }

/** The last notification of a user about a room, as of now. */
export type NotificationState = {
  readonly notificationId: string
  readonly kind: NotificationKind
  readonly firstIndex: number | null
  readonly lastIndex: number | null
  readonly lastSeq: number
  readonly count: number
  readonly senderId: UserId | null
  readonly roomKind: RoomKind
  readonly roomName: string | null
  readonly version: number
  readonly isOpen: boolean
  readonly updatedAtMs: number
  /** Of now, not of then. */
  readonly badge: number
  /** What the user may see of the last message now; null: nothing, or it was not asked for. */
  readonly preview: string | null
}

/** What receivers get: docs/notifications.md. */
export type Payload = {
  readonly type: 'notification' | 'cleared'
  /** The same for every repeat of this state, and of no other. */
  readonly dedupeId: string
  readonly collapseKey: string
  readonly version: number
  readonly notificationId: string
  readonly userId: UserId
  readonly roomId: RoomId
  readonly kind: NotificationKind
  readonly count: number
  readonly badge: number
  readonly title: { readonly senderId?: UserId; readonly roomKind: RoomKind; readonly roomName?: string }
  readonly firstIndex?: number
  readonly lastIndex?: number
  readonly lastSeq: number
  readonly timestampMs: number
  readonly preview?: string
}

export type PushTarget = { readonly endpoint: string; readonly p256dh: string; readonly auth: string }

export type DeliveryPorts = {
  readonly store: {
    state(userId: UserId, roomId: RoomId): Promise<NotificationState | undefined>
    isShown(userId: UserId, roomId: RoomId, target: string): Promise<boolean>
    setShown(userId: UserId, roomId: RoomId, target: string, version: number): Promise<void>
    setCleared(userId: UserId, roomId: RoomId, target: string, version: number): Promise<void>
    subscription(subscriptionId: string): Promise<(PushTarget & { readonly userId: UserId }) | undefined>
    removeSubscription(subscriptionId: string): Promise<void>
    /** Durable when it resolves. */
    addDeadLetter(letter: DeadLetter): Promise<void>
  }
  /**
   * `gone`: the one who is to get it is no more. @throws ChatError `unavailable`: later perhaps; `delivery_refused`: never
   */
  readonly send: (payload: Payload, to: PushTarget | undefined) => Promise<'sent' | 'gone'>
  readonly nowMs: () => number
  readonly limits: DeliveryLimits
}

export type DeliveryLimits = {
  readonly attemptsMax: number
  /** What is older is not sent any more. */
  readonly ttlMs: number
}

export type DeadLetter = { readonly target: string; readonly code: string; readonly reason: string; readonly attempts: number; readonly payload: Payload }
export type Outcome = 'sent' | 'cleared' | 'nothing_to_clear' | 'gone' | 'expired' | 'dead_lettered'

const PREVIEW_CHARS_MAX = 240

/** Of (user, room): what comes with it takes the place of what came before. 32 characters of base64url, as Web Push wants. */
export function collapseKeyOf(userId: UserId, roomId: RoomId): string {
  const bytes = sha256(new TextEncoder().encode(`${userId} ${roomId}`)).slice(0, 24)
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_')
}

export function payloadOf({ userId, roomId }: DeliveryJob, state: NotificationState): Payload {
  const { notificationId, version, isOpen, kind, badge, senderId, roomKind, roomName, firstIndex, lastIndex, lastSeq, preview } = state
  return {
    type: isOpen ? 'notification' : 'cleared',
    dedupeId: `${notificationId}.${version}`,
    collapseKey: collapseKeyOf(userId, roomId),
    version,
    notificationId,
    userId,
    roomId,
    kind,
    count: isOpen ? state.count : 0,
    badge,
    title: { ...(senderId !== null && { senderId }), roomKind, ...(roomName !== null && { roomName }) },
    ...(firstIndex !== null && { firstIndex }),
    ...(lastIndex !== null && { lastIndex }),
    lastSeq,
    timestampMs: state.updatedAtMs,
    ...(isOpen && preview !== null && { preview: shortened(preview) }),
  }
}

function shortened(text: string): string {
  const characters = [...text]
  return characters.length <= PREVIEW_CHARS_MAX ? text : `${characters.slice(0, PREVIEW_CHARS_MAX - 1).join('')}…`
}

/**
 * Sends what is to be shown of a room to a user now, or clears what was shown. At least once: a crash in the middle does it
 * again, with the same dedupe id.
 * @throws ChatError `unavailable`: the job is to be tried again later
 */
export async function deliver(ports: DeliveryPorts, channel: Channel, job: DeliveryJob, attempt: number): Promise<Outcome> {
  const { store, nowMs, limits } = ports
  const { userId, roomId, subscriptionId } = job
  const target = subscriptionId === null ? channel : `${channel}:${subscriptionId}`
  const state = await store.state(userId, roomId)
  if (!state) return 'expired'
  const to = subscriptionId === null ? undefined : await store.subscription(subscriptionId)
  // Somebody else's by now, if the browser has changed hands.
  if (subscriptionId !== null && to?.userId !== userId) return 'gone'
  const { isOpen, version } = state
  if (!isOpen && !(await store.isShown(userId, roomId, target))) return 'nothing_to_clear'
  if (nowMs() - state.updatedAtMs > limits.ttlMs) return 'expired'
  const payload = payloadOf(job, state)
  if (isOpen) await store.setShown(userId, roomId, target, version)
  try {
    if ((await ports.send(payload, to)) === 'gone') {
      if (subscriptionId !== null) await store.removeSubscription(subscriptionId)
      return 'gone'
    }
  } catch (err) {
    const isFinal = !hasCode(err, 'unavailable') || attempt >= limits.attemptsMax
    if (!isFinal) throw err
    await store.addDeadLetter(deadLetterOf(target, payload, err, attempt))
    return 'dead_lettered'
  }
  if (!isOpen) await store.setCleared(userId, roomId, target, version)
  return isOpen ? 'sent' : 'cleared'
}

/** Without the message itself: the dead letters outlive its erasure. */
function deadLetterOf(target: string, { preview: _, ...payload }: Payload, err: unknown, attempts: number): DeadLetter {
  return { target, code: err instanceof ChatError ? err.code : 'internal', reason: (err as Error).message, attempts, payload }
}

/** One after the other for the same key: a later state of a target must not be overtaken by one that is on its way. */
export class InTurn {
  readonly #last = new Map<string, Promise<unknown>>()

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key)
    const mine = (before ?? Promise.resolve()).then(work, work)
    const settled = mine.catch(() => {
      // Whoever asked is told.
    })
    this.#last.set(key, settled)
    try {
      return await mine
    } finally {
      if (this.#last.get(key) === settled) this.#last.delete(key)
    }
  }
}
