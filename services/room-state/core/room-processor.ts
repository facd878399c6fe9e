import type { DedupeBucket } from '#libs/domain/dedupe.ts'
import { decide } from '#libs/domain/decide.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { evolve, shrinkToStub } from '#libs/domain/evolve.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { RoomInput } from '#libs/domain/inputs.ts'
import { DEDUPE_WINDOW_MS, type RoomLimits, STUB_KEPT_MS } from '#libs/domain/limits.ts'
import type { Entry, RoomState } from '#libs/domain/room.ts'
import {
  bucketToAvro,
  type Checkpoint,
  checkpointToAvro,
  decisionFromAvro,
  decisionToAvro,
  markerToAvro,
  roomToAvro,
  sentinelToAvro,
  type StateRecord,
  stateRecordFromAvro,
} from '#libs/streams/avro-shapes.ts'
import type { InputRecord, Processor } from '#libs/streams/fenced-ports.ts'
import type { InRecord, OutRecord } from '#libs/streams/record.ts'
import { headerNames, OWNERSHIP_MARKER } from '#libs/streams/topics.ts'

type Codec = { encode(value: unknown): Buffer; decode(bytes: Buffer): unknown; learn(bytes: Buffer): Promise<void> | undefined }

/** An input, decoded; or the reason why it cannot be, its dead letter being durable already. */
export type PreparedInput = {
  readonly roomId: RoomId
  readonly commandId: string | undefined
  readonly input: RoomInput | { readonly type: 'undecodable'; readonly reason: string }
  readonly headers: Readonly<Record<string, string>>
}

export type RoomProcessorDeps = {
  readonly roomEvents: Codec
  readonly roomState: Codec
  readonly limits: RoomLimits
  readonly prepare: (records: readonly InputRecord[]) => Promise<readonly PreparedInput[]>
  readonly onEntry?: (entry: Entry) => void
}

/** None of these can be a room id. */
const CHECKPOINT_KEY = '~checkpoint'
const SENTINEL_KEY = '~sentinel'
const BUCKET_MARK = '#'
const bucketKey = (roomId: RoomId, bucket: number) => `${roomId}${BUCKET_MARK}${bucket}`

/** Beyond the window plus the clocks' differences: by then every remembered id is refused as expired. */
const SHRINK_AFTER_MS = DEDUPE_WINDOW_MS + 3_600_000
const SWEEP_EVERY_MS = 3_600_000
/** In one snapshot, so that none holds up the partition. */
const SWEPT_ROOMS_MAX = 500

/** The rooms of one partition: restored, decided, snapshotted. Everything but I/O; time comes in as an argument. */
export class RoomProcessor implements Processor<PreparedInput> {
  readonly #deps: RoomProcessorDeps
  readonly #rooms = new Map<RoomId, RoomState>()
  readonly #dirty = new Set<RoomId>()
  /** Buckets as they stand in the snapshots, by identity: they are immutable. */
  readonly #written = new WeakSet<DedupeBucket>()
  /** Which bucket numbers of a room have a record. */
  readonly #bucketRange = new Map<RoomId, { readonly first: number; readonly end: number }>()
  /** Restored and not yet needed: the values of their records. */
  readonly #asleep = { rooms: new Map<RoomId, Buffer>(), buckets: new Map<string, Buffer>() }
  #sweptMs = 0
  #toSweep: RoomId[] = []

  constructor(deps: RoomProcessorDeps) {
    this.#deps = deps
  }

  /** All of them as they are now, for whoever wants to look. */
  get rooms(): ReadonlyMap<RoomId, RoomState> {
    const woken = [...this.#asleep.rooms.keys()].map((roomId) => [roomId, this.#decodeAsleep(roomId)!.room] as const)
    return new Map([...this.#rooms, ...woken])
  }

  async learn(records: readonly InRecord[]): Promise<void> {
    // Ids are unique in a registry, so either codec may ask.
    try {
      for (const { value } of records) if (value) await this.#deps.roomEvents.learn(value)
    } catch (err) {
      throw new ChatError('unavailable', 'the schema registry', { cause: err })
    }
  }

  /** Keeps the snapshots as bytes: people wait for a takeover, and of very many rooms few are spoken in before the next. */
  restore({ key, value }: InRecord): Checkpoint | undefined {
    if (key === null || key === SENTINEL_KEY) return undefined
    if (key === CHECKPOINT_KEY && value !== null) {
      const record = stateRecordFromAvro(this.#deps.roomState.decode(value))
      return record.kind === 'checkpoint' ? record.checkpoint : undefined
    }
    const asleep: Map<string, Buffer> = key.includes(BUCKET_MARK) ? this.#asleep.buckets : this.#asleep.rooms
    // A copy: the bytes are a slice of a whole fetch response, which they would keep.
    if (value === null) asleep.delete(key)
    else asleep.set(key, Buffer.from(value))
    return undefined
  }

  replay({ value }: InRecord): void {
    const decision = decisionFromAvro(this.#deps.roomEvents.decode(value!))
    if (decision) this.#apply(decision.roomId, decision.entries)
  }

  prepare(records: readonly InputRecord[]): Promise<readonly PreparedInput[]> {
    return this.#deps.prepare(records)
  }

  process({ roomId, commandId, input, headers }: PreparedInput, nowMs: number): OutRecord {
    const entries: readonly Entry[] =
      input.type === 'undecodable'
        ? [commandId === undefined ? { type: 'ignored', reason: input.reason } : { type: 'refused', code: 'undecodable' }]
        : decide(this.#room(roomId), input, nowMs, this.#deps.limits)
    this.#apply(roomId, entries)
    for (const entry of entries) this.#deps.onEntry?.(entry)
    return {
      key: roomId,
      value: this.#deps.roomEvents.encode(decisionToAvro({ roomId, commandId, entries })),
      headers: { ...headers, [headerNames.eventType]: entries.map((entry) => entry.type).join(',') },
    }
  }

  marker(ownerId: string, nonce: string): OutRecord {
    return {
      key: OWNERSHIP_MARKER,
      value: this.#deps.roomEvents.encode(markerToAvro(ownerId, nonce)),
      headers: { [headerNames.eventType]: OWNERSHIP_MARKER },
    }
  }

  sentinel(nonce: string): OutRecord {
    return { key: SENTINEL_KEY, value: this.#deps.roomState.encode(sentinelToAvro(nonce)), headers: {} }
  }

  isDirty(): boolean {
    return this.#dirty.size > 0
  }

  snapshot(checkpoint: Checkpoint, nowMs: number): readonly OutRecord[] {
    this.#sweep(nowMs)
    const records: OutRecord[] = []
    for (const roomId of this.#dirty) this.#snapshotRoom(roomId, records)
    this.#dirty.clear()
    records.push({ key: CHECKPOINT_KEY, value: this.#deps.roomState.encode(checkpointToAvro(checkpoint)), headers: {} })
    return records
  }

  #apply(roomId: RoomId, entries: readonly Entry[]): void {
    const before = this.#room(roomId)
    let room = before
    for (const entry of entries) room = evolve(room, roomId, entry)
    if (room === undefined || room === before) return
    this.#rooms.set(roomId, room)
    this.#dirty.add(roomId)
  }

  #snapshotRoom(roomId: RoomId, records: OutRecord[]): void {
    const { roomState } = this.#deps
    const room = this.#rooms.get(roomId)
    const had = this.#bucketRange.get(roomId) ?? { first: 0, end: 0 }
    const { firstBucket, buckets } = room?.dedupe ?? { firstBucket: had.end, buckets: [] }
    for (let i = had.first; i < Math.min(firstBucket, had.end); i++) records.push({ key: bucketKey(roomId, i), value: null, headers: {} })
    buckets.forEach((bucket, i) => {
      if (this.#written.has(bucket)) return
      this.#written.add(bucket)
      records.push({ key: bucketKey(roomId, firstBucket + i), value: roomState.encode(bucketToAvro(roomId, firstBucket + i, bucket)), headers: {} })
    })
    records.push({ key: roomId, value: room ? roomState.encode(roomToAvro(room)) : null, headers: {} })
    if (room) this.#bucketRange.set(roomId, { first: firstBucket, end: firstBucket + buckets.length })
    else this.#bucketRange.delete(roomId)
  }

  /** Closed rooms shrink to stubs, and what is older than any order event can be is forgotten. */
  #sweep(nowMs: number): void {
    if (this.#toSweep.length === 0 && nowMs - this.#sweptMs >= SWEEP_EVERY_MS) {
      this.#sweptMs = nowMs
      this.#toSweep = [...this.#rooms.keys(), ...this.#asleep.rooms.keys()]
    }
    for (const roomId of this.#toSweep.splice(-SWEPT_ROOMS_MAX)) {
      const { room } = this.#rooms.has(roomId) ? { room: this.#rooms.get(roomId)! } : (this.#headAsleep(roomId) ?? { room: undefined })
      if (room && room.status !== 'open') this.#sweepRoom(roomId, room, nowMs)
    }
  }

  #sweepRoom(roomId: RoomId, { lastEventMs, kind, status, participants }: Omit<RoomState, 'dedupe'>, nowMs: number): void {
    const idleMs = nowMs - lastEventMs
    // Other rooms keep theirs: nothing bounds when somebody creates them again.
    if (idleMs > STUB_KEPT_MS && kind === 'order') {
      this.#room(roomId)
      this.#rooms.delete(roomId)
      this.#dirty.add(roomId)
    } else if (status === 'closed' && idleMs > SHRINK_AFTER_MS && participants.size > 0) {
      this.#rooms.set(roomId, shrinkToStub(this.#room(roomId)!))
      this.#dirty.add(roomId)
    }
  }

  /** The room, woken where it was asleep. */
  #room(roomId: RoomId): RoomState | undefined {
    const woken = this.#decodeAsleep(roomId)
    if (!woken) return this.#rooms.get(roomId)
    const { room, first, end } = woken
    for (let i = first; i < end; i++) this.#asleep.buckets.delete(bucketKey(roomId, i))
    for (const bucket of room.dedupe.buckets) this.#written.add(bucket)
    this.#asleep.rooms.delete(roomId)
    this.#rooms.set(roomId, room)
    this.#bucketRange.set(roomId, { first, end })
    return room
  }

  #decodeAsleep(roomId: RoomId): { readonly room: RoomState; readonly first: number; readonly end: number } | undefined {
    const head = this.#headAsleep(roomId)
    if (!head) return undefined
    const { room, firstBucket: first, bucketCount } = head
    const buckets: DedupeBucket[] = []
    for (let i = first; i < first + bucketCount; i++) {
      const value = this.#asleep.buckets.get(bucketKey(roomId, i))
      const record = value && stateRecordFromAvro(this.#deps.roomState.decode(value))
      // Compaction has removed it because a later owner has written it anew, above our sentinel.
      if (record?.kind !== 'bucket') throw new ChatError('ownership_lost', `room ${roomId}: bucket ${i} is not below the sentinel`)
      buckets.push(record.content)
    }
    return { room: { ...room, dedupe: { firstBucket: first, buckets } }, first, end: first + bucketCount }
  }

  #headAsleep(roomId: RoomId): (StateRecord & { readonly kind: 'room' }) | undefined {
    const value = this.#asleep.rooms.get(roomId)
    const record = value && stateRecordFromAvro(this.#deps.roomState.decode(value))
    return record?.kind === 'room' ? record : undefined
  }
}
