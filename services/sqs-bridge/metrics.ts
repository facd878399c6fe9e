import { Counter, Gauge, Histogram, latencyBuckets, type Registry } from '#libs/runtime/metrics.ts'

export type SqsBridgeMetrics = ReturnType<typeof createSqsBridgeMetrics>

export function createSqsBridgeMetrics(registry: Registry, inFlight: () => number) {
  const registers = [registry]
  const counter = (name: string, help: string) => new Counter({ name: `sqs_bridge_${name}`, help, registers })
  new Gauge({
    name: 'sqs_bridge_in_flight',
    help: 'Messages received and not yet deleted or released',
    registers,
    collect() {
      this.set(inFlight())
    },
  })
  return {
    received: counter('received_total', 'Messages received from SQS, repeats included'),
    published: new Counter({ name: 'sqs_bridge_published_total', help: 'Order events acknowledged by Kafka', labelNames: ['type'], registers }),
    deadLettered: new Counter({ name: 'sqs_bridge_dead_lettered_total', help: 'Messages written to order-events.dlq', labelNames: ['code'], registers }),
    deleted: counter('deleted_total', 'Messages deleted from SQS'),
    deleteFailures: counter('delete_failures_total', 'Messages that could not be deleted and will be shown again'),
    released: counter('released_total', 'Messages given back to SQS to be shown again'),
    receiveErrors: counter('receive_errors_total', 'Receive calls that failed'),
    publishFailures: counter('publish_failures_total', 'Writes to Kafka that failed'),
    publishSeconds: new Histogram({
      name: 'sqs_bridge_publish_seconds',
      help: 'From handing a record to the producer to its acknowledgement',
      buckets: latencyBuckets,
      registers,
    }),
    queueSeconds: new Histogram({
      name: 'sqs_bridge_queue_seconds',
      help: 'From SQS taking a message in to Kafka acknowledging it',
      buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600, 3_600],
      registers,
    }),
    kafkaUp: new Gauge({ name: 'sqs_bridge_kafka_up', help: '0 while the bridge receives nothing because Kafka takes nothing', registers }),
  }
}
