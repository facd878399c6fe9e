import type { LogHeaders } from './reader-rule.ts'

/** A record as it was read. */
export type InRecord = {
  readonly offset: bigint
  readonly key: string | null
  /** null: a tombstone. */
  readonly value: Buffer | null
  readonly headers: LogHeaders
  /** Of the broker or the producer, ms since 1970. */
  readonly timestampMs: number
}

/** A record to be written. */
export type OutRecord = {
  readonly key: string | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, string | Buffer>>
  /** Default: by murmur2 of the key, as the Java client does; 0 without a key. */
  readonly partition?: number
}

/** What a record takes in a batch, roughly; never too little for what we write. */
export function recordBytes(record: OutRecord): number {
  let bytes = 70 + (record.key?.length ?? 0) + (record.value?.length ?? 0)
  for (const name in record.headers) bytes += 10 + name.length + record.headers[name]!.length
  return bytes
}
