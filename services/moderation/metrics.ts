import { Counter, createRegistry, Gauge, Histogram, latencyBuckets } from '#libs/runtime/metrics.ts'

export type ModerationMetrics = ReturnType<typeof createModerationMetrics>

export function createModerationMetrics() {
  const registry = createRegistry('moderation')
  const registers = [registry]
  return {
    registry,
    partitions: new Gauge({ name: 'moderation_partitions_owned', help: 'Partitions that the group assigns to this process', registers }),
    records: new Counter({ name: 'moderation_records_total', help: 'Log records that were read, void ones included', registers }),
    verdicts: new Counter({ name: 'moderation_verdicts_total', help: 'Messages and edits that were done with', labelNames: ['verdict'], registers }),
    askSeconds: new Histogram({ name: 'moderation_ask_seconds', help: 'One question to the webhook, answered or not', buckets: latencyBuckets, registers }),
    breakerOpen: new Gauge({ name: 'moderation_breaker_open', help: '1 while the webhook is left alone', registers }),
    retries: new Counter({ name: 'moderation_retries_total', help: 'Batches that failed for now', registers }),
    lag: new Gauge({ name: 'moderation_consumer_lag', help: 'Log records that are waiting', labelNames: ['partition'], registers }),
  }
}
