import { Counter, createRegistry, Gauge, Histogram, latencyBuckets } from '#libs/runtime/metrics.ts'

export type InboxMetrics = ReturnType<typeof createInboxMetrics>

export function createInboxMetrics() {
  const registry = createRegistry('inbox')
  const registers = [registry]
  return {
    registry,
    feed: {
      partitions: new Gauge({ name: 'inbox_feed_partitions_owned', help: 'Partitions of users that the group assigns to this process', registers }),
      takeovers: new Counter({ name: 'inbox_feed_takeovers_total', help: 'Takeovers that were completed', registers }),
      takeoverSeconds: new Histogram({ name: 'inbox_feed_takeover_seconds', help: 'From the fence to the first input', buckets: latencyBuckets, registers }),
      doubts: new Counter({ name: 'inbox_feed_doubts_total', help: 'Tenures that ended in doubt, by error code', labelNames: ['code'], registers }),
      inputs: new Counter({ name: 'inbox_feed_inputs_total', help: 'Inputs whose effect is durable', registers }),
      entries: new Counter({ name: 'inbox_feed_entries_total', help: 'Decided entries by type, and cause or refusal code', labelNames: ['type', 'code'], registers }),
      batchInputs: new Histogram({ name: 'inbox_feed_batch_inputs', help: 'Inputs per append', buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500], registers }),
      batchSeconds: new Histogram({ name: 'inbox_feed_batch_seconds', help: 'Decide and append', buckets: latencyBuckets, registers }),
      snapshotRecords: new Histogram({ name: 'inbox_feed_snapshot_records', help: 'Records per snapshot', buckets: [1, 10, 100, 1_000, 10_000, 100_000], registers }),
      snapshotSeconds: new Histogram({ name: 'inbox_feed_snapshot_seconds', help: 'Snapshot transactions', buckets: latencyBuckets, registers }),
      deadLetters: new Counter({ name: 'inbox_feed_dead_letters_total', help: 'Inputs that could not be decoded', labelNames: ['code'], registers }),
      lag: new Gauge({ name: 'inbox_feed_consumer_lag', help: 'Inputs that are waiting', labelNames: ['topic', 'partition'], registers }),
    },
    fanOut: {
      partitions: new Gauge({ name: 'inbox_fan_out_partitions_owned', help: 'Partitions of rooms that the group assigns to this process', registers }),
      records: new Counter({ name: 'inbox_fan_out_records_total', help: 'Log records that were read, void ones included', registers }),
      updates: new Counter({ name: 'inbox_fan_out_updates_total', help: 'Updates acknowledged by Kafka, repeats included', registers }),
      batchSeconds: new Histogram({ name: 'inbox_fan_out_batch_seconds', help: 'Decode, fan out and send', buckets: latencyBuckets, registers }),
      restoreSeconds: new Histogram({ name: 'inbox_fan_out_restore_seconds', help: 'Reading who is in which room', buckets: [...latencyBuckets, 30, 120], registers }),
      unknownRooms: new Counter({ name: 'inbox_fan_out_unknown_rooms_total', help: 'Rooms of which nobody knows who was in: nobody was told what happened in them', registers }),
      retries: new Counter({ name: 'inbox_fan_out_retries_total', help: 'Batches that failed for now', registers }),
      lag: new Gauge({ name: 'inbox_fan_out_consumer_lag', help: 'Log records that are waiting', labelNames: ['partition'], registers }),
    },
  }
}
