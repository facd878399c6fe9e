import { Counter, createRegistry, Gauge, Histogram, latencyBuckets } from '#libs/runtime/metrics.ts'

export type RelayMetrics = ReturnType<typeof createRelayMetrics>

export function createRelayMetrics() {
  const registry = createRegistry('relay')
  const registers = [registry]
  return {
    registry,
    partitions: new Gauge({ name: 'relay_partitions_owned', help: 'Partitions that the group assigns to this process', registers }),
    records: new Counter({ name: 'relay_records_total', help: 'Log records that were read, void ones included', registers }),
    facts: new Counter({ name: 'relay_facts_total', help: 'Blocks said and rooms entered', labelNames: ['kind'], registers }),
    commands: new Counter({ name: 'relay_commands_total', help: 'Commands acknowledged by Kafka, repeats included', registers }),
    waitSeconds: new Histogram({ name: 'relay_postgres_wait_seconds', help: 'Waiting for Postgres to hold what the log held', buckets: [...latencyBuckets, 30, 120], registers }),
    retries: new Counter({ name: 'relay_retries_total', help: 'Batches that failed for now', registers }),
    lag: new Gauge({ name: 'relay_consumer_lag', help: 'Log records that are waiting', labelNames: ['partition'], registers }),
  }
}
