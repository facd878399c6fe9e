import { decideInbox, evolveOwned, type OwnedUser } from '#libs/domain/decide-inbox.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { type InboxEntry, newUser, type UserState } from '#libs/domain/inbox.ts'
import { type Checkpoint, checkpointToAvro, sentinelToAvro } from '#libs/streams/avro-shapes.ts'
import type { InputRecord, Processor } from '#libs/streams/fenced-ports.ts'
import { chatSnapshotToAvro, inboxStateFromAvro, userDecisionFromAvro, userDecisionToAvro, userMarkerToAvro, userSnapshotToAvro } from '#libs/streams/inbox-shapes.ts'
import type { InRecord, OutRecord } from '#libs/streams/record.ts'
import { headerNames, OWNERSHIP_MARKER } from '#libs/streams/topics.ts'
import type { PreparedInboxInput } from './prepare.ts'

type Codec = { encode(value: unknown): Buffer; decode(bytes: Buffer): unknown; learn(bytes: Buffer): Promise<void> | undefined }

export type FeedProcessorDeps = {
  readonly userEvents: Codec
  readonly inboxState: Codec
  readonly prepare: (records: readonly InputRecord[]) => Promise<readonly PreparedInboxInput[]>
  readonly onEntry?: (entry: InboxEntry) => void
}

/** A user id has no space in it and is not empty: these are no user's, and no chat's. */
const CHECKPOINT_KEY = ' checkpoint'
const SENTINEL_KEY = ' sentinel'
const chatKey = (userId: UserId, roomId: RoomId) => `${userId} ${roomId}`

/** Of a user who was restored and not needed since: the values of his records. */
type Asleep = { head: Buffer | undefined; readonly chats: Map<RoomId, Buffer> }

/**
 * The users of one partition: restored, decided, snapshotted. Everything but I/O; time comes in as an argument. A
 * snapshot has one record for a user's head and one for each chat that changed, however many chats he has.
 */
export class FeedProcessor implements Processor<PreparedInboxInput> {
  readonly #deps: FeedProcessorDeps
  readonly #users = new Map<UserId, OwnedUser>()
  readonly #asleep = new Map<UserId, Asleep>()
  readonly #dirty = new Map<UserId, Set<RoomId>>()

  constructor(deps: FeedProcessorDeps) {
    this.#deps = deps
  }

  /** All of them as they are now, for whoever wants to look. */
  get users(): ReadonlyMap<UserId, UserState> {
    const woken = [...this.#asleep].map(([userId, asleep]) => [userId, this.#decodeAsleep(userId, asleep)] as const)
    return new Map([...this.#users, ...woken])
  }

  async learn(records: readonly InRecord[]): Promise<void> {
    // Ids are unique in a registry, so either codec may ask.
    try {
      for (const { value } of records) if (value) await this.#deps.userEvents.learn(value)
    } catch (err) {
      throw new ChatError('unavailable', 'the schema registry', { cause: err })
    }
  }

  /** Keeps the snapshots as bytes: people wait for a takeover, and few of very many users get anything before the next. */
  restore({ key, value }: InRecord): Checkpoint | undefined {
    if (key === null || key === SENTINEL_KEY) return undefined
    if (key === CHECKPOINT_KEY) {
      const record = value && inboxStateFromAvro(this.#deps.inboxState.decode(value))
      return record?.kind === 'checkpoint' ? record.checkpoint : undefined
    }
    const space = key.indexOf(' ')
    const userId = (space < 0 ? key : key.slice(0, space)) as UserId
    const asleep = this.#asleep.get(userId) ?? { head: undefined, chats: new Map<RoomId, Buffer>() }
    this.#asleep.set(userId, asleep)
    // A copy: the bytes are a slice of a whole fetch response, which they would keep.
    const bytes = value === null ? undefined : Buffer.from(value)
    const roomId = key.slice(space + 1) as RoomId
    if (space < 0) asleep.head = bytes
    else if (bytes) asleep.chats.set(roomId, bytes)
    else asleep.chats.delete(roomId)
    return undefined
  }

  replay({ value }: InRecord): void {
    const decision = userDecisionFromAvro(this.#deps.userEvents.decode(value!))
    if (decision) this.#apply(decision.userId, decision.entries)
  }

  prepare(records: readonly InputRecord[]): Promise<readonly PreparedInboxInput[]> {
    return this.#deps.prepare(records)
  }

  process({ userId, commandId, input, headers }: PreparedInboxInput, nowMs: number): OutRecord {
    const entries = 'reason' in input ? [undecodable(commandId, input.reason)] : decideInbox(this.#user(userId), input, nowMs)
    this.#apply(userId, entries)
    for (const entry of entries) this.#deps.onEntry?.(entry)
    return {
      key: userId,
      value: this.#deps.userEvents.encode(userDecisionToAvro({ userId, commandId, entries })),
      headers: { ...headers, [headerNames.eventType]: entries.map((entry) => entry.type).join(',') },
    }
  }

  marker(ownerId: string, nonce: string): OutRecord {
    return { key: OWNERSHIP_MARKER, value: this.#deps.userEvents.encode(userMarkerToAvro(ownerId, nonce)), headers: { [headerNames.eventType]: OWNERSHIP_MARKER } }
  }

  sentinel(nonce: string): OutRecord {
    return { key: SENTINEL_KEY, value: this.#deps.inboxState.encode(sentinelToAvro(nonce)), headers: {} }
  }

  isDirty(): boolean {
    return this.#dirty.size > 0
  }

  snapshot(checkpoint: Checkpoint): readonly OutRecord[] {
    const { inboxState } = this.#deps
    const records: OutRecord[] = []
    for (const [userId, roomIds] of this.#dirty) {
      const user = this.#users.get(userId)!
      for (const roomId of roomIds) {
        const chat = user.chats.get(roomId)
        records.push({ key: chatKey(userId, roomId), value: chat ? inboxState.encode(chatSnapshotToAvro(userId, chat)) : null, headers: {} })
      }
      records.push({ key: userId, value: inboxState.encode(userSnapshotToAvro(user)), headers: {} })
    }
    this.#dirty.clear()
    records.push({ key: CHECKPOINT_KEY, value: inboxState.encode(checkpointToAvro(checkpoint)), headers: {} })
    return records
  }

  #apply(userId: UserId, entries: readonly InboxEntry[]): void {
    for (const entry of entries) {
      if (entry.type !== 'chatChanged') continue
      const { user, evicted } = evolveOwned(this.#user(userId), entry)
      this.#users.set(userId, user)
      const dirty = this.#dirty.get(userId) ?? new Set()
      this.#dirty.set(userId, dirty)
      dirty.add(entry.chat.roomId)
      for (const roomId of evicted) dirty.add(roomId)
    }
  }

  /** The user, woken where he was asleep. Who has nothing yet is not kept. */
  #user(userId: UserId): OwnedUser {
    const asleep = this.#asleep.get(userId)
    if (!asleep) return this.#users.get(userId) ?? { ...newUser(userId), chats: new Map() }
    const user = this.#decodeAsleep(userId, asleep)
    this.#asleep.delete(userId)
    this.#users.set(userId, user)
    return user
  }

  #decodeAsleep(userId: UserId, { head, chats }: Asleep): OwnedUser {
    const record = head && inboxStateFromAvro(this.#deps.inboxState.decode(head))
    // Compaction has removed it because a later owner has written it anew, above our sentinel.
    if (record?.kind !== 'user') throw new ChatError('ownership_lost', `user ${userId}: his head is not below the sentinel`)
    const restored: OwnedUser['chats'] = new Map()
    for (const [roomId, bytes] of chats) {
      const chat = inboxStateFromAvro(this.#deps.inboxState.decode(bytes))
      if (chat.kind === 'chat') restored.set(roomId, chat.chat)
    }
    return { ...record.user, chats: restored }
  }
}

const undecodable = (commandId: string | undefined, reason: string): InboxEntry =>
  commandId === undefined ? { type: 'inboxIgnored', reason } : { type: 'inboxRefused', code: 'undecodable' }
