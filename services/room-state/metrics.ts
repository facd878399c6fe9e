import { Counter, createRegistry, Gauge, Histogram, latencyBuckets } from '#libs/runtime/metrics.ts'

export type RoomStateMetrics = ReturnType<typeof createRoomStateMetrics>

export function createRoomStateMetrics() {
  const registry = createRegistry('room-state')
  const registers = [registry]
  return {
    registry,
    partitions: new Gauge({ name: 'room_state_partitions_owned', help: 'Partitions that the group assigns to this process', registers }),
    takeovers: new Counter({ name: 'room_state_takeovers_total', help: 'Takeovers that were completed', registers }),
    takeoverSeconds: new Histogram({ name: 'room_state_takeover_seconds', help: 'From the fence to the first input', buckets: latencyBuckets, registers }),
    doubts: new Counter({ name: 'room_state_doubts_total', help: 'Tenures that ended in doubt, by error code', labelNames: ['code'], registers }),
    inputs: new Counter({ name: 'room_state_inputs_total', help: 'Inputs whose effect is durable', registers }),
    entries: new Counter({ name: 'room_state_entries_total', help: 'Decided entries by type and refusal code', labelNames: ['type', 'code'], registers }),
    batchInputs: new Histogram({ name: 'room_state_batch_inputs', help: 'Inputs per append', buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500], registers }),
    batchSeconds: new Histogram({ name: 'room_state_batch_seconds', help: 'Decide and append', buckets: latencyBuckets, registers }),
    snapshotRecords: new Histogram({ name: 'room_state_snapshot_records', help: 'Records per snapshot', buckets: [1, 10, 100, 1_000, 10_000, 100_000], registers }),
    snapshotSeconds: new Histogram({ name: 'room_state_snapshot_seconds', help: 'Snapshot transactions', buckets: latencyBuckets, registers }),
    deadLetters: new Counter({ name: 'room_state_dead_letters_total', help: 'Inputs that could not be decoded', labelNames: ['code'], registers }),
    lag: new Gauge({ name: 'room_state_consumer_lag', help: 'Inputs that are waiting', labelNames: ['topic', 'partition'], registers }),
  }
}
