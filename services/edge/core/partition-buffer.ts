import type { InRecord } from '#libs/streams/record.ts'

export type BufferLimits = { readonly recordsMax: number; readonly bytesMax: number }

/**
 * The valid records of one partition that Postgres may not have yet, by key, undecoded. Complete from `floor` on: a
 * joiner who read Postgres at a position below the floor must read again.
 */
export class PartitionBuffer {
  readonly #limits: BufferLimits
  #records: InRecord[] = []
  /** Records in front of this index were dropped. */
  #start = 0
  #bytes = 0
  #floor: bigint
  readonly #byKey = new Map<string, InRecord[]>()

  constructor(floor: bigint, limits: BufferLimits) {
    this.#floor = floor
    this.#limits = limits
  }

  get floor(): bigint {
    return this.#floor
  }

  get size(): number {
    return this.#records.length - this.#start
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Keeps a record; past the cap the oldest are dropped, and the floor rises. */
  push(record: InRecord): void {
    this.#records.push(record)
    this.#bytes += record.value?.length ?? 0
    const key = record.key ?? ''
    const ofKey = this.#byKey.get(key)
    if (ofKey) ofKey.push(record)
    else this.#byKey.set(key, [record])
    while (this.size > this.#limits.recordsMax || (this.#bytes > this.#limits.bytesMax && this.size > 1)) this.#dropOldest()
  }

  /** Postgres has everything below `nextOffset`. */
  prune(nextOffset: bigint): void {
    while (this.size > 0 && this.#records[this.#start]!.offset < nextOffset) this.#dropOldest()
    if (nextOffset > this.#floor) this.#floor = nextOffset
  }

  /** In offset order. */
  ofKey(wanted: string): readonly InRecord[] {
    return this.#byKey.get(wanted) ?? []
  }

  #dropOldest(): void {
    const record = this.#records[this.#start]!
    this.#start++
    this.#bytes -= record.value?.length ?? 0
    const ofKey = this.#byKey.get(record.key ?? '')!
    ofKey.shift()
    if (ofKey.length === 0) this.#byKey.delete(record.key ?? '')
    if (record.offset + 1n > this.#floor) this.#floor = record.offset + 1n
    if (this.#start > 1_000 && this.#start * 2 > this.#records.length) {
      this.#records = this.#records.slice(this.#start)
      this.#start = 0
    }
  }
}
