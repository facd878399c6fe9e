import { Counter, createRegistry, Gauge, Histogram, latencyBuckets } from '#libs/runtime/metrics.ts'

export type NotifierMetrics = ReturnType<typeof createNotifierMetrics>

export function createNotifierMetrics() {
  const registry = createRegistry('notifier')
  const registers = [registry]
  return {
    registry,
    partitions: new Gauge({ name: 'notifier_partitions_owned', help: 'Partitions that the group assigns to this process', registers }),
    records: new Counter({ name: 'notifier_records_total', help: 'Log records that were read, void ones included', registers }),
    silent: new Counter({ name: 'notifier_silent_total', help: 'Messages and invitations that nobody was told of, by why', labelNames: ['reason'], registers }),
    notifications: new Counter({ name: 'notifier_notifications_total', help: 'Notifications that were opened or raised (told), and closed', labelNames: ['change'], registers }),
    jobs: new Counter({ name: 'notifier_jobs_total', help: 'Delivery jobs that were added', registers }),
    retries: new Counter({ name: 'notifier_retries_total', help: 'Batches that failed for now', registers }),
    moved: new Counter({ name: 'notifier_position_moved_total', help: 'Batches that another notifier had done', registers }),
    presenceUnknown: new Counter({ name: 'notifier_presence_unknown_total', help: 'Users who count as away since Redis did not answer', registers }),
    lag: new Gauge({ name: 'notifier_consumer_lag', help: 'Log records that are waiting, for their grace to be over or to be read', labelNames: ['partition'], registers }),
    deliveries: new Counter({ name: 'notifier_deliveries_total', help: 'Delivery jobs by how they ended; retry: it comes again', labelNames: ['channel', 'outcome'], registers }),
    deliverySeconds: new Histogram({ name: 'notifier_delivery_seconds', help: 'One request to a provider', labelNames: ['channel'], buckets: [...latencyBuckets, 30], registers }),
    breakerOpen: new Gauge({ name: 'notifier_breaker_open', help: '1: the provider has failed too often and is left alone for now', labelNames: ['provider'], registers }),
    deadLetters: new Counter({ name: 'notifier_dead_letters_total', help: 'Deliveries that were written to notifications.dlq', labelNames: ['code'], registers }),
  }
}
