import { Counter, createRegistry, Gauge, Histogram, latencyBuckets } from '#libs/runtime/metrics.ts'

/** Of one log that is brought into Postgres. */
export type LogMetrics = Omit<ReturnType<typeof createPersisterMetrics>, 'registry' | 'userEvents'>

const batchRecordsBuckets = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000]

export function createPersisterMetrics() {
  const registry = createRegistry('message-persister')
  const registers = [registry]
  return {
    registry,
    partitions: new Gauge({ name: 'message_persister_partitions_owned', help: 'Partitions that the group assigns to this process', registers }),
    records: new Counter({ name: 'message_persister_records_total', help: 'Log records that were applied, void ones included', registers }),
    rows: new Counter({ name: 'message_persister_rows_total', help: 'Room events written to Postgres', registers }),
    batchRecords: new Histogram({ name: 'message_persister_batch_records', help: 'Log records per transaction', buckets: batchRecordsBuckets, registers }),
    batchSeconds: new Histogram({ name: 'message_persister_batch_seconds', help: 'Decode and transaction', buckets: latencyBuckets, registers }),
    moved: new Counter({ name: 'message_persister_position_moved_total', help: 'Batches given up because another persister had been there', registers }),
    behind: new Counter({ name: 'message_persister_retries_total', help: 'Batches that failed for now', registers }),
    lag: new Gauge({ name: 'message_persister_consumer_lag', help: 'Log records that are waiting', labelNames: ['partition'], registers }),
    userEvents: {
      partitions: new Gauge({ name: 'message_persister_user_partitions_owned', help: 'Partitions of user-events that the group assigns to this process', registers }),
      records: new Counter({ name: 'message_persister_user_records_total', help: 'Records of user-events that were applied, void ones included', registers }),
      rows: new Counter({ name: 'message_persister_user_rows_total', help: 'Changes of chats written to Postgres, those that a later one of the batch covers included', registers }),
      batchRecords: new Histogram({ name: 'message_persister_user_batch_records', help: 'Records of user-events per transaction', buckets: batchRecordsBuckets, registers }),
      batchSeconds: new Histogram({ name: 'message_persister_user_batch_seconds', help: 'Decode and transaction', buckets: latencyBuckets, registers }),
      moved: new Counter({ name: 'message_persister_user_position_moved_total', help: 'Batches given up because another persister had been there', registers }),
      behind: new Counter({ name: 'message_persister_user_retries_total', help: 'Batches that failed for now', registers }),
      lag: new Gauge({ name: 'message_persister_user_consumer_lag', help: 'Records of user-events that are waiting', labelNames: ['partition'], registers }),
    },
  }
}
