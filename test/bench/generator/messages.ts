import type { Load } from './schedule.ts'

/** What is to be opened, one link for each room; `other` where the protocol needs more than that. */
export type LinkSpec = {
  readonly roomId: string
  readonly userId: string
  readonly url: string
  readonly token: string
}

/** order-chat-presence: what is sent is no message but a change between online and away. */
export type ProtocolName = 'order-chat' | 'order-chat-presence' | 'socket-io' | 'plain' | 'kafka'

export type KafkaTarget = { readonly brokers: readonly string[]; readonly topic: string; readonly role: 'produce' | 'consume'; readonly partitions: number }

export type ConnectOrder = {
  readonly do: 'connect'
  readonly protocol: ProtocolName
  readonly links: readonly LinkSpec[]
  /** Handshakes under way at a time. */
  readonly atOnce: number
  readonly kafka?: KafkaTarget
  /** Do not wait for what the server sends after the upgrade. */
  readonly upgradeOnly?: boolean
  /** What a client that was here before has seen already. */
  readonly since?: number
}

export type PlayOrder = { readonly do: 'play'; readonly run: number; readonly load: Load; readonly bytes: number; readonly startMs: number }

/** What a generator is told, one order at a time; each is answered once. */
export type Order =
  | ConnectOrder
  | PlayOrder
  | { readonly do: 'expect'; readonly run: number; readonly total: number }
  | { readonly do: 'progress' }
  | { readonly do: 'collect' }
  | { readonly do: 'disconnect' }

export type Connected = { readonly opened: number; readonly tookMs: number; readonly retries: number; readonly failures: readonly string[] }
export type Played = {
  /** Of each message, ms on the machine's monotonic clock. */
  readonly sentMs: Float64Array
}
export type Progress = { readonly received: number; readonly acked: number }
export type Collected = {
  /** Ms on the machine's monotonic clock; NaN where nothing came. */
  readonly arrivedMs: Float64Array
  readonly ackedMs: Float64Array
  readonly duplicates: number
  /** What should not have happened: refusals, closed sockets. The first few, and how many. */
  readonly troubles: readonly string[]
  readonly troubleCount: number
  readonly receivedBytes: number
}

export type Answer = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: string }

/** Ms on the clock that all processes of this machine share. */
export function monotonicMs(): number {
  const [s, ns] = process.hrtime()
  return s * 1_000 + ns / 1e6
}
