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
  stateRecordFromAvro,
} from '#libs/streams/avro-shapes.ts'
import type { InputRecord, Processor } from '#libs/streams/fenced-ports.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
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
const bucketKey = (roomId: RoomId, bucket: number) => `${roomId}#${bucket}`

/** Beyond the window plus the clocks' differences: by then every remembered id is refused as expired. */
const SHRINK_AFTER_MS = DEDUPE_WINDOW_MS + 3_600_000
const SWEEP_EVERY_MS = 3_600_000

/** The rooms of one partition: restored, decided, snapshotted. Everything but I/O; time comes in as an argument. */
export class RoomProcessor implements Processor<PreparedInput> {
  readonly #deps: RoomProcessorDeps
  readonly #rooms = new Map<RoomId, RoomState>()
  readonly #dirty = new Set<RoomId>()
  /** Buckets as they stand in the snapshots, by identity: they are immutable. */
  readonly #written = new WeakSet<DedupeBucket>()
  /** Which bucket numbers of a room have a record. */
  readonly #bucketRange = new Map<RoomId, { readonly first: number; readonly end: number }>()
  #restoring: { rooms: Map<RoomId, { room: Omit<RoomState, 'dedupe'>; firstBucket: number; bucketCount: number }>; buckets: Map<string, DedupeBucket> } | undefined = {
    rooms: new Map(),
    buckets: new Map(),
  }
  #sweptMs = 0

  constructor(deps: RoomProcessorDeps) {
    this.#deps = deps
  }

  get rooms(): ReadonlyMap<RoomId, RoomState> {
    return this.#rooms
  }

  async learn(records: readonly InRecord[]): Promise<void> {
    // Ids are unique in a registry, so either codec may ask.
    try {
      for (const { value } of records) if (value) await this.#deps.roomEvents.learn(value)
    } catch (err) {
      throw new ChatError('unavailable', 'the schema registry', { cause: err })
    }
  }

  restore({ key, value }: InRecord): Checkpoint | undefined {
    const { rooms, buckets } = this.#restoring!
    if (value === null) {
      rooms.delete(key as RoomId)
      buckets.delete(key ?? '')
      return undefined
    }
    const record = stateRecordFromAvro(this.#deps.roomState.decode(value))
    if (record.kind === 'checkpoint') return record.checkpoint
    if (record.kind === 'room') rooms.set(record.room.roomId, record)
    if (record.kind === 'bucket') buckets.set(bucketKey(record.roomId, record.bucket), record.content)
    return undefined
  }

  restored(): void {
    const { rooms, buckets } = this.#restoring!
    this.#restoring = undefined
    for (const [roomId, { room, firstBucket, bucketCount }] of rooms) {
      const kept: DedupeBucket[] = []
      for (let i = firstBucket; i < firstBucket + bucketCount; i++) {
        const bucket = buckets.get(bucketKey(roomId, i))
        // Compaction has removed it because a later owner has written it anew, above our sentinel.
        if (!bucket) throw new ChatError('ownership_lost', `room ${roomId}: bucket ${i} is not below the sentinel`)
        this.#written.add(bucket)
        kept.push(bucket)
      }
      this.#rooms.set(roomId, { ...room, dedupe: { firstBucket, buckets: kept } })
      this.#bucketRange.set(roomId, { first: firstBucket, end: firstBucket + bucketCount })
    }
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
        : decide(this.#rooms.get(roomId), input, nowMs, this.#deps.limits)
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
    if (nowMs - this.#sweptMs >= SWEEP_EVERY_MS) this.#sweep(nowMs)
    const records: OutRecord[] = []
    for (const roomId of this.#dirty) this.#snapshotRoom(roomId, records)
    this.#dirty.clear()
    records.push({ key: CHECKPOINT_KEY, value: this.#deps.roomState.encode(checkpointToAvro(checkpoint)), headers: {} })
    return records
  }

  #apply(roomId: RoomId, entries: readonly Entry[]): void {
    const before = this.#rooms.get(roomId)
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
    this.#sweptMs = nowMs
    for (const [roomId, room] of this.#rooms) {
      if (room.status === 'open') continue
      const idleMs = nowMs - room.lastEventMs
      if (idleMs > STUB_KEPT_MS) {
        this.#rooms.delete(roomId)
        this.#dirty.add(roomId)
      } else if (room.status === 'closed' && idleMs > SHRINK_AFTER_MS && room.participants.size > 0) {
        this.#rooms.set(roomId, shrinkToStub(room))
        this.#dirty.add(roomId)
      }
    }
  }
}

/** Headers that travel from an input to its effect. */
export function passedOn(record: InputRecord): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {}
  for (const name of [headerNames.traceparent, headerNames.replyTo]) {
    const text = headerText(record.headers, name)
    if (text !== undefined) headers[name] = text
  }
  return headers
}
